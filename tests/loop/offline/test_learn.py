import json
import random

import msgspec
import pytest

from made_up import QUEUES, ticket, tickets
from openwheel.gate import spent, verify
from openwheel.loop.offline.learn import learn
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.students import load_student
from openwheel.wire import APIS

SETTINGS = LoopSettings()


def only(findings):
    (finding,) = findings.tasks
    return finding


def test_a_learnable_task_is_certified_promoted_and_its_certificate_holds(store, registry, fill):
    fill(tickets(1_500))
    finding = only(learn(store, SETTINGS, source="made up"))
    assert finding.certified
    assert finding.form == "label"
    assert finding.n == 1_500
    assert finding.coverage > 0.9
    assert finding.bound <= SETTINGS.epsilon
    (certificate,) = registry.certificates()
    assert verify(certificate).holds
    assert certificate.calibration_window.exchanges == finding.n_calibration == 375
    assert 0 < certificate.calibration.n <= 375  # a burst has one vote
    promotion = registry.promotions()[finding.task]
    assert promotion.certificate == certificate
    student = load_student(registry.files.folder(certificate.student), certificate.files)
    assert student.answers == tuple(sorted(QUEUES))


def test_learning_that_is_stopped_while_it_judges_goes_on(store, registry, fill):
    fill(tickets(1_500))

    def stop(said, *_):
        if "judging on" in said:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(store, SETTINGS, source="made up", progress=stop)
    assert registry.certificates() == registry.candidates() == []
    finding = only(learn(store, SETTINGS, source="made up"))
    assert finding.certified
    assert finding.attempt == 2  # the first looked at the evidence, though nobody saw a verdict


def test_what_is_served_is_what_was_judged(store, registry, fill):
    """The saved student, loaded again, gives the counts that its certificate records."""
    fill(tickets(1_500, noise=0.02))
    finding = only(learn(store, SETTINGS, source="made up"))
    (certificate,) = registry.certificates()
    student = registry.load(registry.candidate(certificate.student))
    rows = [row for row in store.task_rows(finding.task) if row.seq > 1_500 - 375]
    found = student.answer([tuple(json.loads(row.inputs)) for row in rows])
    answered = found.confidence >= certificate.threshold
    wrong = sum(
        text != row.text
        for text, row, take in zip(found.texts, rows, answered, strict=True)
        if take
    )
    chosen = certificate.tests[certificate.chosen]
    assert answered.sum() == chosen.answered_with_repeats
    assert wrong == chosen.disagreements_with_repeats


def test_answers_at_random_are_refused_and_spend_nothing(store, registry, fill):
    fill(tickets(800, noise=1.0))
    finding = only(learn(store, SETTINGS, source="made up"))
    assert not finding.certified
    assert finding.reason.startswith("Refused")
    assert finding.more_needed is None
    assert registry.certificates() == []
    assert registry.promotions() == {}


def test_too_little_is_refused_with_how_much_is_missing(store, fill):
    fill(tickets(40))
    finding = only(learn(store, SETTINGS, source="made up"))
    assert not finding.certified
    assert finding.more_needed == 20


def test_a_refusal_says_about_how_many_more_it_would_take(store, fill):
    """Certified in the end, after no more than a few times what the first refusal said."""
    rows = tickets(8_000, seed=4, noise=0.02)
    used = 160
    fill(rows[:used])
    finding = only(learn(store, LoopSettings(rungs=("linear",)), source="made up"))
    assert not finding.certified
    first = finding.more_needed
    assert first
    while not finding.certified and finding.more_needed and used < 160 + 4 * first:
        fill(rows[used : used + finding.more_needed])
        used += finding.more_needed
        finding = only(learn(store, LoopSettings(rungs=("linear",)), source="made up"))
    assert finding.certified


def test_a_log_sorted_by_answer_is_refused_unless_declared_exchangeable(store, fill):
    fill(sorted(tickets(1_500), key=lambda row: row["output"]))
    findings = learn(store, SETTINGS, source="made up")
    finding = only(findings)
    assert not finding.certified
    assert "--shuffle" in finding.reason
    assert findings.warnings
    assert only(learn(store, SETTINGS, source="made up", shuffle=1)).certified


def test_times_decide_the_order_where_there_are_any(store, registry, fill):
    rows = tickets(1_500)
    for second, row in enumerate(rows):
        row["time"] = 1_700_000_000 + second
    fill(sorted(rows, key=lambda row: row["output"]))
    finding = only(learn(store, SETTINGS, source="made up"))
    assert finding.certified
    (certificate,) = registry.certificates()
    assert certificate.calibration_window.first_time > certificate.training.last_time


def test_every_attempt_spends_less(store, registry, fill):
    for attempt in (1, 2, 3):
        fill(tickets(500, seed=attempt))
        finding = only(learn(store, SETTINGS, source="made up"))
        assert finding.attempt == attempt
        assert finding.delta_spent == pytest.approx(spent(0.05, attempt))
    assert registry.tasks()[0].attempts == 3


@pytest.mark.parametrize("passes", [True, False])
def test_what_had_a_verdict_judges_no_second_attempt(store, registry, fill, passes):
    """Whether it passed or failed: what it disagreed on may have been read."""
    fill([*tickets(1_125), *tickets(375, seed=1, noise=0.0 if passes else 0.15)])
    linear = LoopSettings(rungs=("linear",))
    assert only(learn(store, linear, source="made up")).certified == passes
    asked = LoopSettings(rungs=("linear",), epsilon=0.1)  # other settings, the same exchanges
    finding = only(learn(store, asked, source="made up"))
    assert not finding.certified
    assert "judge no second attempt" in finding.reason
    assert registry.tasks()[0].attempts == 1  # nothing spent
    assert len(registry.promotions()) == passes  # whoever is promoted stays so
    assert finding.more_needed >= 40
    if passes:
        fill(tickets(1_000, seed=2))
        assert only(learn(store, asked, source="made up")).certified
        certificate = registry.certificates()[-1]
        assert certificate.training.last_seq >= 1_500  # they train
        assert certificate.calibration_window.first_seq > 1_500


def test_shuffled_exchanges_judge_no_second_attempt_by_another_shuffle(store, registry, fill):
    fill(sorted(tickets(1_500), key=lambda row: row["output"]))
    assert only(learn(store, SETTINGS, source="made up", shuffle=1)).certified
    again = only(learn(store, SETTINGS, source="made up", shuffle=2))
    assert "judge no second attempt" in again.reason
    fill(sorted(tickets(300, seed=1), key=lambda row: row["output"]))
    assert only(learn(store, SETTINGS, source="made up", shuffle=3)).certified
    certificate = registry.certificates()[-1]
    window = certificate.calibration_window
    assert certificate.training.exchanges + window.exchanges == 1_800
    assert min(window.first_seq, window.last_seq) > 1_500


def test_what_judged_a_shadow_judges_nobody_else(store, registry, fill):
    """A turn showed how it went so far; a later attempt, by a turn or not, is judged on others."""
    fill(tickets(400))
    turn(store, SETTINGS)
    fill(tickets(40, seed=1, noise=0.5))
    turn(store, SETTINGS)
    (task,) = registry.tasks()
    assert task.attempts
    assert registry.judged_until(task.task.id) == 440
    finding = only(learn(store, SETTINGS, source="made up"))
    assert "judge no second attempt" in finding.reason
    fill(tickets(1_000, seed=2))
    turn(store, SETTINGS, after=440)  # trains again
    certified = registry.certificates()
    for candidate, _, _ in registry.candidates()[1:]:
        assert candidate.trained_until == 1_440  # nothing that came before judges it
    assert certified[0].calibration_window.last_seq <= 1_440


def test_inputs_seen_in_training_count_with_what_the_teacher_says_of_them_now(
    store, registry, fill
):
    """They are answered, so they are counted: here the teacher changed its mind on all of them."""
    rows = tickets(1_200)
    linear = LoopSettings(rungs=("linear",))
    repeated = [row | {"output": swapped(row["output"])} for row in rows[:100]]
    mixed = [row for pair in zip(rows[1_000:1_100], repeated, strict=True) for row in pair]
    fill([*rows[:1_000], *mixed, *rows[1_100:]])
    finding = only(learn(store, linear, source="made up"))
    # The latest quarter (325) are 200 new texts, 100 repeats and 25 others.
    assert finding.n_calibration == 325
    assert not finding.certified
    assert finding.disagreements >= 80


def swapped(queue):
    names = list(QUEUES)
    return names[(names.index(queue) + 1) % len(names)]


def test_new_and_repeated_inputs_are_told_apart(store, registry, fill):
    rows = tickets(1_200)
    fill([*rows, *rows[:100], *tickets(200, seed=3)])
    assert only(learn(store, LoopSettings(rungs=("linear",)), source="made up")).certified
    (certificate,) = registry.certificates()
    new, repeated = certificate.populations
    assert (new.name, repeated.name) == ("new", "repeated")
    assert repeated.exchanges == 100
    assert new.exchanges + repeated.exchanges == certificate.calibration_window.exchanges == 375
    assert verify(certificate).holds


def test_a_burst_of_one_input_has_one_vote(store, registry, fill):
    rows = tickets(1_500)
    alarm = {"input": "battery noise screen part 77", "output": "product"}
    fill([*rows[:1_200], *[alarm] * 60, *rows[1_200:1_440]])
    assert only(learn(store, LoopSettings(rungs=("linear",)), source="made up")).certified
    (certificate,) = registry.certificates()
    assert certificate.calibration_window.exchanges == 375
    assert certificate.calibration.n <= 375 - 59


def called(row, *, text=None, finish_reason="stop", **message):
    """Return a row as a log of requests and responses has it."""
    said = {"role": "assistant", "content": row["output"] if text is None else text, **message}
    return {
        "request": {"messages": [{"role": "user", "content": row["input"]}]},
        "response": {"choices": [{"message": said, "finish_reason": finish_reason}]},
    }


CALL = {"id": "1", "type": "function", "function": {"name": "escalate", "arguments": "{}"}}


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(
            {"text": "The queue that fits this message best would be", "finish_reason": "length"},
            marks=pytest.mark.evidence,
        ),
        pytest.param({"text": "", "finish_reason": "content_filter"}, marks=pytest.mark.evidence),
        {"text": None, "finish_reason": "content_filter"},  # even the right word
        {"text": "", "finish_reason": "tool_calls", "tool_calls": [CALL]},
    ],
)
def test_what_the_teacher_did_not_finish_counts_as_disagreement(store, registry, fill, odd):
    """A student answers those requests too: at 4.5% of them, 5% cannot be shown."""
    rng = random.Random(0)
    fill([called(row, **(odd if rng.random() < 0.045 else {})) for row in tickets(2_000)])
    finding = only(learn(store, LoopSettings(rungs=("linear",)), source="made up"))
    assert not finding.certified
    assert registry.tasks()[0].attempts == 0  # training foresaw it


def test_a_few_unfinished_answers_are_counted_in_the_certificate(store, registry, fill):
    rng = random.Random(0)
    cut = {"text": "The queue", "finish_reason": "length"}
    fill([called(row, **(cut if rng.random() < 0.01 else {})) for row in tickets(3_000)])
    assert only(learn(store, LoopSettings(rungs=("linear",)), source="made up")).certified
    (certificate,) = registry.certificates()
    unfinished = certificate.unfinished
    assert 1 <= unfinished.answered <= unfinished.exchanges <= 20
    assert unfinished.disagreements == unfinished.answered
    assert certificate.repeat_disagreement * 750 >= unfinished.answered * 0.99
    assert verify(certificate).holds


def test_the_exact_rung_takes_over_where_inputs_repeat(store, registry, fill):
    rng = random.Random(0)
    # What each code means cannot be told from its letters.
    meaning = {f"code {rng.randrange(10**8)}": rng.choice(list(QUEUES)) for _ in range(60)}
    rows = [
        {"input": code, "output": meaning[code]} for code in rng.choices(list(meaning), k=2_000)
    ]
    fill(rows)
    finding = only(learn(store, SETTINGS, source="made up"))
    assert finding.certified
    assert finding.rung == "exact"
    assert finding.coverage > 0.95


def test_a_record_with_a_field_that_is_not_from_the_input_is_refused_with_its_name(store, fill):
    rng = random.Random(0)
    rows = [
        {
            "input": f"extract machine {i} stopped",
            "output": {"machine": f"M-{i}", "token": f"{rng.getrandbits(64):x}"},
        }
        for i in range(80)
    ]
    finding = only(learn_after(store, fill, rows))
    assert finding.form == "record"
    assert not finding.certified
    assert finding.reason.startswith("Refused: training predicts")
    assert any("'token' does not come out of the input" in text for text in finding.warnings)


def test_records_that_repeat_are_answered_by_the_exact_rung(store, registry, fill):
    rng = random.Random(0)
    serial = rng.sample(range(10**6), 600)  # that no input has
    written = [
        f'{{"machine": "M-{i}",  "serial": {serial[i]}}}' for i in range(600)
    ]  # two spaces: the teacher's own style
    rows = [
        {"input": f"extract machine {i} stopped", "output": written[i]}
        for i in [*rng.choices(range(600), k=1_490), *[7] * 10]
    ]
    fill(rows)
    finding = only(learn(store, SETTINGS, source="made up"))
    assert (finding.form, finding.rung) == ("record", "exact")
    assert finding.certified
    body = {"messages": [{"role": "user", "content": "extract machine 7 stopped"}]}
    asked = APIS["chat"].read_request(json.dumps(body).encode())
    decision = RegistryServing(registry).decide(asked)
    assert decision.answer == written[7]


def test_texts_are_left_to_the_teacher_until_a_comparison_is_chosen(store, fill):
    rng = random.Random(0)
    words = ["press", "belt", "oil", "motor", "stopped", "warm", "loud", "again"]
    rows = [
        {"input": f"write about {i}", "output": " ".join(rng.choices(words, k=40)) + f". {i}"}
        for i in range(80)
    ]
    finding = only(learn_after(store, fill, rows))
    assert finding.form == "text"
    assert finding.reason.startswith("Left to the teacher")
    assert "compare" in finding.reason


def learn_after(store, fill, rows):
    fill(rows)
    return learn(store, SETTINGS, source="made up")


def test_surfaces_keep_the_teachers_bytes(store, registry, fill):
    rows = [{"input": row["input"], "output": f" {row['output']}\n"} for row in tickets(1_500)]
    fill(rows)
    finding = only(learn(store, SETTINGS, source="made up"))
    candidate = registry.candidate(finding.student)
    assert candidate.surfaces["billing"] == " billing\n"


def test_a_slice_not_seen_in_training_or_evidently_bad_is_deferred(store, registry, fill):
    rng = random.Random(5)
    rows = []
    for i in range(3_000):
        customer = ("acme", "globex", "initech")[i % 3]
        queue = rng.choice(list(QUEUES))
        text = ticket(rng, queue)
        # One customer's answers cannot be predicted.
        answer = rng.choice(list(QUEUES)) if customer == "initech" else queue
        system = f"You sort tickets for the customer {customer}. Answer with one queue."
        rows.append(
            {
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": answer},
                ]
            }
        )
    finding = only(learn_after(store, fill, rows))
    assert finding.certified
    candidate = registry.candidate(finding.student)
    assert candidate.slicer.known == ("acme", "globex", "initech")
    assert candidate.slicer.deferred == ("initech",)
    (certificate,) = registry.certificates()
    assert certificate.deferred_slices == ("initech",)
    assert [s.name for s in certificate.slices] == ["acme", "globex", "initech"]
    assert {s.name: s.answered for s in certificate.slices}["initech"] == 0
    assert finding.coverage < 0.7


def test_findings_survive_json(store, fill):
    findings = learn_after(store, fill, tickets(600))
    again = msgspec.json.decode(msgspec.json.encode(findings), type=type(findings))
    assert again == findings


def test_details_add_a_learning_curve(store, fill):
    fill(tickets(800))
    finding = only(learn(store, SETTINGS, source="made up", details=True))
    assert [size for size, _ in finding.learning_curve] == [62, 125, 250, 500]
    assert finding.trade_off
    assert finding.reliability
    (chosen,) = [point for point in finding.frontier if point.chosen]
    assert (chosen.threshold, chosen.coverage) == (finding.threshold, finding.coverage)
    assert all(0 <= point.unknown <= 1 for point in finding.frontier)


def test_what_a_teacher_thinks_before_its_answer_is_not_the_answer(store, registry, fill):
    rows = tickets(1_500)
    for i, row in enumerate(rows):
        row["output"] = f"<think>ticket {i}: hm</think>\n\n{row['output']}"
    fill(rows)
    finding = only(learn(store, SETTINGS, source="made up"))
    assert finding.form == "label"
    assert finding.certified
    (certificate,) = registry.certificates()
    student = registry.load(registry.candidate(certificate.student))
    assert set(student.answers) == set(QUEUES)
