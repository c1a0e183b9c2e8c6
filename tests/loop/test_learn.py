import itertools
import json
import random

import msgspec
import pytest

from made_up import QUEUES, ticket, tickets
from openwheel.gate import spent, verify
from openwheel.loop.learn import learn
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
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
    assert certificate.calibration.n == finding.n_calibration
    promotion = registry.promotions()[finding.task]
    assert promotion.certificate == certificate
    student = load_student(registry.folder(certificate.student), certificate.files)
    assert student.answers == tuple(sorted(QUEUES))


def test_what_is_served_is_what_was_judged(store, registry, fill):
    """The saved student, loaded again, gives the counts that its certificate records."""
    fill(tickets(1_500, noise=0.02))
    finding = only(learn(store, SETTINGS, source="made up"))
    (certificate,) = registry.certificates()
    student = registry.load(registry.candidate(certificate.student))
    rows = [row for row in store.task_rows(finding.task) if row.seq > 1_500 - 375]
    predictions = student.predict([tuple(json.loads(row.inputs)) for row in rows])
    answered = predictions.confidence >= certificate.threshold
    wrong = sum(
        student.answers[label] != row.text
        for label, row, take in zip(predictions.labels, rows, answered, strict=True)
        if take
    )
    assert answered.sum() == certificate.calibration.answered
    assert wrong == certificate.calibration.disagreements


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
    fill(tickets(1_500))
    for attempt in (1, 2, 3):
        finding = only(learn(store, SETTINGS, source="made up"))
        assert finding.attempt == attempt
        assert finding.delta_spent == pytest.approx(spent(0.05, attempt))
    assert registry.tasks()[0].attempts == 3


def test_inputs_seen_in_training_are_no_evidence_for_a_model(store, registry, fill):
    rows = tickets(1_200)
    repeated = rows[:300]
    fill([*rows, *repeated])
    finding = only(learn(store, LoopSettings(rungs=("linear",)), source="made up"))
    # The latest quarter (375) is the 300 repeats and 75 others.
    assert finding.n_calibration == 75


def test_a_repeated_new_input_speaks_once(store, fill):
    rows = tickets(1_500)
    alarm = {"input": "battery noise screen part 77", "output": "product"}
    latest = list(itertools.chain.from_iterable((row, dict(alarm)) for row in rows[1_200:1_400]))
    fill([*rows[:1_200], *latest])
    finding = only(learn(store, LoopSettings(rungs=("linear",)), source="made up"))
    assert finding.n_calibration == 201


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


def test_records_that_never_repeat_are_beyond_the_cheap_rungs(store, fill):
    rows = [
        {"input": f"extract {i}", "output": {"machine": f"M-{i}", "minutes": i}} for i in range(80)
    ]
    findings = learn_after(store, fill, rows)
    finding = only(findings)
    assert finding.form == "record"
    assert not finding.certified
    assert finding.reason.startswith("Refused: training predicts")


def test_records_that_repeat_are_answered_by_the_exact_rung(store, registry, fill):
    rng = random.Random(0)
    written = [
        f'{{"machine": "M-{i}",  "minutes": {i}}}' for i in range(40)
    ]  # two spaces: the teacher's own style
    rows = [
        {"input": f"extract machine {i} stopped", "output": written[i]}
        for i in rng.choices(range(40), k=1_500)
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
