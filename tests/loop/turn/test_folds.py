"""Answers that differ and are one: from the reason of a refusal to what is served and audited."""

import json
import random

import msgspec
import pytest

from made_up import QUEUES, tickets
from openwheel.errors import SettingError
from openwheel.gate import verify
from openwheel.loop.audit.step import audit
from openwheel.loop.data import load_answers
from openwheel.loop.feedback.desk import Feedback, FeedbackDesk, FeedbackError
from openwheel.loop.offline.evaluate import evaluate
from openwheel.loop.offline.learn import learn
from openwheel.loop.offline.replay import replay
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.settings import TaskSection
from openwheel.store import Exchange, Store
from openwheel.students.lm.prompt import Asking
from openwheel.students.lm.student import canonical, usable
from openwheel.tasks import Part, Template
from openwheel.wire import Answer, Prompt, PromptMessage, Request

STRICT = LoopSettings()
FOLDED = LoopSettings(answer=("case", "emphasis"))
REFUSAL = "I'm sorry, but I can't help with that."


def spelled(n, change, *, seed=0):
    """Return tickets with the answers changed by a function of the answer and a generator."""
    rng = random.Random(seed + 100)
    return [{**row, "output": change(row["output"], rng)} for row in tickets(n, seed=seed)]


def bold(queue, rng):
    """Write most answers bold, and a fifth in other ways."""
    if rng.random() > 0.2:
        return f"**{queue}**"
    return rng.choice([queue, queue.title(), f"_{queue}_"])


def only(findings):
    (finding,) = findings.tasks
    return finding


def request(text):
    return Request(prompt=Prompt(messages=(PromptMessage("user", text),)))


def answers_of(registry, seed=9):
    serving = RegistryServing(registry)
    found = [serving.decide(request(row["input"])).answer for row in tickets(60, seed=seed)]
    return {answer for answer in found if answer is not None}


def test_a_refusal_names_the_setting_with_which_the_task_is_learned(store, registry, fill):
    fill(spelled(1_000, bold))
    finding = only(learn(store, STRICT, source="made up"))
    assert not finding.certified
    assert finding.attempt == 0
    assert 'answer = ["case", "emphasis"] under [tasks."' in finding.reason
    (waiting,) = [event for event in turn(store, STRICT).events if event.kind == "waiting"]
    assert 'answer = ["case", "emphasis"]' in waiting.reason
    certified = only(learn(store, FOLDED, source="made up"))
    assert certified.certified
    assert certified.coverage > 0.8
    (certificate,) = registry.certificates()
    assert verify(certificate).holds
    assert certificate.compared.setting == "exact after case, emphasis"
    assert "agree if they are equal after case, emphasis, as of" in certificate.statement
    assert {part.answer for part in certificate.answers} == set(QUEUES)
    assert registry.tasks()[0].folds == ("case", "emphasis")


@pytest.fixture
def folded(store, registry, fill):
    fill(spelled(1_000, bold))
    assert only(learn(store, FOLDED, source="made up")).certified
    return store


def test_what_is_served_is_the_usual_spelling(folded, registry):
    assert answers_of(registry) == {f"**{queue}**" for queue in QUEUES}


def test_evaluation_compares_as_the_certificate_does(folded, registry):
    serving = RegistryServing(registry)
    log = [exchange for _, exchange in folded.exchanges()][-200:]
    assert evaluate(serving, log).total.disagreements <= 4
    shouted = [
        msgspec.structs.replace(one, answer=msgspec.structs.replace(one.answer, text="NONE"))
        for one in log
    ]
    found = evaluate(serving, shouted).total
    assert found.disagreements == found.answered > 100


def test_a_correction_is_taken_in_any_spelling(folded, registry):
    desk = FeedbackDesk(folded)
    exchange = next(one for _, one in folded.exchanges())
    assert desk.take(Feedback(exchange.id, correction="BILLING"), None) == "label"
    with pytest.raises(FeedbackError, match="must be one of the 4 answers"):
        desk.take(Feedback(exchange.id, correction="bill"), None)


def test_the_same_answer_in_another_style_is_one_for_json(store, registry, fill):
    styles = ['{{"queue": "{}", "urgent": false}}', '{{"urgent": false, "queue": "{}"}}',
              '{{"queue":"{}","urgent":false}}']  # fmt: skip
    fill(spelled(1_000, lambda q, rng: rng.choices(styles, (6, 1, 1))[0].format(q)))
    finding = only(learn(store, STRICT, source="made up"))
    assert finding.certified
    assert finding.form == "label"
    assert answers_of(registry) == {styles[0].format(queue) for queue in QUEUES}
    assert registry.certificates()[0].compared is None


def test_what_the_teacher_thought_is_not_served(store, registry, fill):
    fill(spelled(1_000, lambda q, rng: f"I saw {rng.random()}, so it is clear.\nAnswer: {q}"))
    refused = only(learn(store, STRICT, source="made up"))
    assert refused.form == "text"
    assert 'answer = ["reasoning"]' in refused.reason
    assert only(learn(store, LoopSettings(answer=("reasoning",)), source="made up")).certified
    assert answers_of(registry) == {f"Answer: {queue}" for queue in QUEUES}


def test_refusals_in_text_train_nobody_and_count(store, registry, fill):
    fill(spelled(1_000, lambda q, rng: REFUSAL if rng.random() < 0.1 else q))
    finding = only(learn(store, STRICT, source="made up"))
    assert not finding.certified
    assert "are refusals in text, such as" in finding.reason
    record = registry.tasks()[0]
    data = load_answers(store, record.task.id, record.form)
    refused = [i for i, text in enumerate(data.texts) if text == REFUSAL]
    assert 50 < len(refused) < 150
    assert not data.trains[refused].any()
    assert data.finished[refused].all()
    assert REFUSAL not in data.surfaces
    assert data.left_out == ()


def test_a_few_refusals_in_text_are_counted_by_the_certificate(store, registry, fill):
    fill(spelled(1_200, lambda q, rng: REFUSAL if rng.random() < 0.01 else q))
    assert only(learn(store, STRICT, source="made up")).certified
    (certificate,) = registry.certificates()
    (refused,) = [part for part in certificate.answers if part.answer == REFUSAL]
    assert refused.teacher > refused.student == 0
    assert certificate.tests[certificate.chosen].disagreements_with_repeats > 0


def test_with_fewer_folds_a_student_is_taken_off(folded, registry):
    done = turn(folded, LoopSettings(answer=("case",)))
    (demoted,) = [event for event in done.events if event.kind == "demoted"]
    assert "answers are compared after case now" in demoted.reason
    assert "certified for answers compared after case, emphasis" in demoted.reason
    assert RegistryServing(registry).students() == {}
    assert turn(folded, LoopSettings(answer=("case",))).events[0].kind != "demoted"


def test_with_more_folds_a_student_stays_and_is_audited_as_it_was_certified(store, registry, fill):
    fill(tickets(1_000))
    assert only(learn(store, STRICT, source="made up")).certified
    (before,) = RegistryServing(registry).students().values()
    looser = LoopSettings(answer=("case",))
    assert not any(event.kind == "demoted" for event in turn(store, looser).events)
    record = registry.tasks()[0]
    assert record.folds == ("case",)
    assert RegistryServing(registry).students() == {record.task.name: before}
    for i in range(60):  # what case makes one was two to its certificate
        row = tickets(1, seed=1_000 + i)[0]
        answer = RegistryServing(registry).decide(request(row["input"])).answer
        if answer is not None:
            store.append([_audited(row["input"], answer, before, i)])
    events = turn(store, looser).events + tuple(audit(store, registry, looser))
    assert any(event.kind == "demoted" for event in events)


def _audited(text, answer, student, number):
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    return Exchange(
        id=f"audited-{number}",
        time=0.0,
        request=body,
        answer=Answer(answer.upper()),
        source="teacher",
        student=student,
        student_answer=answer,
        audit_probability=1.0,
        unbiased=True,
    )


def test_who_shadows_is_replaced_when_folds_change(store, registry, fill):
    rows, after = tickets(4_000, noise=0.02, seed=2), 0
    while not registry.candidates(state="shadow"):
        fill(rows[:250])
        del rows[:250]
        after = turn(store, STRICT, after=after).looked_at
    ((shadow, _, _),) = registry.candidates(state="shadow")
    done = turn(store, LoopSettings(answer=("case",)), after=after)
    assert any("who shadowed is given up" in event.reason for event in done.events)
    states = {found.id: state for found, state, _ in registry.candidates()}
    assert states[shadow.id] == "replaced"
    assert all(found.folds == ("case",) for found, _, _ in registry.candidates(state="shadow"))


@pytest.mark.evidence
def test_replay_compares_with_the_folds_it_was_given(tmp_path, fill, store):
    fill(spelled(1_500, bold))
    log = [exchange for _, exchange in store.exchanges()]
    with Store.open(tmp_path / "replay.db") as empty:
        found = replay(empty, log, FOLDED, seed=1)
    assert found.total.answered > 200
    assert found.total.disagreement < 0.06


def test_answer_is_for_comparisons_by_equality_and_fields():
    own = {"t": TaskSection(compare="rouge:0.7", answer=("case",))}
    with pytest.raises(SettingError, match=r"tasks\.t: answer is for answers that are compared by"):
        LoopSettings(tasks=own).checked()
    whole = LoopSettings(answer=("case",), tasks={"t": TaskSection(compare="rouge:0.7")})
    assert whole.checked().folds("t") == ()
    assert whole.folds("other") == ("case",)
    none = LoopSettings(answer=("case",), tasks={"t": TaskSection(answer=())})
    assert none.folds("t") == ()
    with pytest.raises(SettingError, match=r"tasks\.t: answer must be of invisible.*was 'Case'"):
        LoopSettings(tasks={"t": TaskSection(answer=("Case",))}).checked()


def test_a_model_that_writes_is_compared_after_folds():
    asking = Asking(template=Template((Part(("",)),) * 4), folds=("case", "stop"))
    assert canonical("Billing.", asking.form, asking.folds) == "billing"
    assert msgspec.convert(msgspec.to_builtins(asking), Asking) == asking

    class Written:
        finish, text = "stop", '**{"a": 1}**'

    assert not usable(Written(), "record")
    assert usable(Written(), "record", ("emphasis",))
