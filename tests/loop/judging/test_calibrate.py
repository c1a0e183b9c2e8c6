"""Judging a candidate by the comparison that was chosen for its task, to its certificate."""

import functools

import msgspec
import numpy as np
import pytest

from openwheel.errors import SettingError
from openwheel.gate import Compared, Window, spent, verify
from openwheel.gate.plan import Plan
from openwheel.loop.audit.records import latest_state, read_alarms
from openwheel.loop.audit.step import audit
from openwheel.loop.data import Origin, TaskData
from openwheel.loop.records import Candidate, Slicer
from openwheel.loop.registry import Registry
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.certify import calibrate, write_certificate
from openwheel.settings import TaskSection
from openwheel.store import Exchange
from openwheel.students.student import Answers
from openwheel.tasks import Task
from openwheel.tasks.compare import ExactComparison, RougeComparison
from openwheel.teachers import HttpTeacher, asking
from openwheel.wire import Answer

N = 400


class Writing:
    """A student that knows its texts by heart."""

    rung = "lm"
    answers = ()

    def __init__(self, texts, confidence):
        self.texts, self.sure = texts, confidence

    def answer(self, inputs):
        rows = [int(values[0].rpartition("-")[2], 26) for values in inputs]
        return Answers([self.texts[i] for i in rows], self.sure[rows])


def data_of(texts):
    n = len(texts)
    alphabet = "0123456789abcdefghijklmnop"
    # Letters that differ, so that no two are one cluster.
    names = [f"{alphabet[i // 676]}{alphabet[i // 26 % 26]}{alphabet[i % 26]}" for i in range(n)]
    words = ["".join(chr(97 + int(letter, 26)) for letter in name) for name in names]
    inputs = [
        (f"when is shop {word} open {name}-{name}",)
        for word, name in zip(words, names, strict=True)
    ]
    return TaskData(
        np.arange(1, n + 1), np.arange(1, n + 1), np.zeros(n), np.ones(n, np.bool_), np.ones(n),
        np.ones(n), np.ones(n, np.bool_), np.ones(n, np.bool_), inputs, [""] * n,
        list(texts), list(texts), [""] * n, {}, [Origin("t", "m")] * n, [""] * n, [()] * n,
    )  # fmt: skip


@pytest.fixture
def case():
    """Sure of the first 360: of those, four say another thing and twelve one that is doubtful."""
    teacher = [f"it opens at nine daily {i}" for i in range(N)]
    student = [f"daily it opens at nine {i}" for i in range(N)]
    for i in range(16):
        student[20 * i] = f"closed {i}" if i % 4 == 0 else f"zz at nine daily {i}"
    data = data_of(teacher)
    plan = Plan((0.5,), (1.0,), (0.9,), (0.03,), N)
    window = Window(N, 1, N, 0.0, 0.0, "0" * 64)
    candidate = Candidate(
        id="lm-1", task_id="t", rung="lm", files={}, attempt=1, epsilon=0.08, delta=0.1,
        delta_spent=spent(0.1, 1), plan=plan, slicer=Slicer(), variables=(0,), surfaces={},
        trained_until=0, coverage=0.9, enough=100, training=window, method="betting",
        form="text", compare="judge",
    )  # fmt: skip
    sure = np.where(np.arange(N) < 360, 0.9, 0.1)
    return candidate, Writing(student, sure), data


def doubtful(first, second):
    """Yes for the same words; of what begins with zz the order decides."""
    if "zz" in first + second:
        return first.startswith("zz")
    return sorted(first.split()) == sorted(second.split())


def judged(case, comparison):
    candidate, student, data = case
    nothing = data.take(np.arange(0))
    return calibrate(candidate, student, nothing.inputs, data, comparison=comparison)


def test_a_judge_gives_halves_and_the_certificate_says_who_judged(case, model, make_judge):
    model.rule = doubtful
    judge = make_judge(budget=2_000)
    compared = Compared("judge", judge.fingerprint, "big", {"flips": 0.02})
    candidate = msgspec.structs.replace(case[0], compared=compared)
    found = judged((candidate, *case[1:]), judge)
    assert len(model.bodies) == 720  # two for each that would be answered, none for the others
    test = found.judgement.tests[0]
    assert (test.answered, test.disagreements, test.loss) == (360, 16, 4 + 12 / 2)
    assert test.partial == ((500, 12),)
    assert found.judgement.chosen == 0
    certificate = write_certificate(Task(id="t", name="hours", template=None), candidate, found)
    assert verify(certificate).holds
    assert certificate.compared == compared
    assert certificate.observed == pytest.approx(10 / 360)
    assert certificate.bound <= 0.08
    assert certificate.slices[0].partial == ((500, 12),)
    assert "in the comparison judge of big" in certificate.statement


def audits(n):
    """Return audits of the student: half of them are word for word, half only as good."""
    return [
        Exchange(
            id=f"r{i}-audit",
            request=b"{}",
            answer=Answer(f"it opens at ten daily {i}"),
            source="teacher",
            unbiased=True,
            audit_probability=0.2,
            student="lm-1",
            student_answer=f"it opens at ten daily {i}" if i % 2 else f"daily it opens at ten {i}",
        )
        for i in range(n)
    ]


def test_a_student_whose_audits_no_budget_judges_any_more_is_taken_off(
    case, model, make_judge, store
):
    registry, judge = Registry(store), make_judge(budget=2_000)
    compared = Compared("judge", judge.fingerprint, "big", {"flips": 0.02})
    candidate = msgspec.structs.replace(case[0], compared=compared)
    task = Task(id="t", name="hours", template=None)
    certificate = write_certificate(task, candidate, judged((candidate, *case[1:]), judge))
    registry.add_tasks([task])
    registry.set_form("t", "text", "made up")
    registry.add_candidate(candidate)
    registry.promote(certificate, by="turn", reason="certified", audit=0.2)
    resources = Resources(connect=functools.partial(asking, lambda: HttpTeacher(model.url)))
    asked = len(model.bodies)

    def look(budget):
        own = TaskSection(compare="judge", judge_model="big", judge_budget=budget)
        return audit(store, registry, LoopSettings(tasks={"hours": own}), resources)

    store.append(audits(10))
    store.assign((seq, "t", f'["{seq}"]', "") for seq, _ in store.exchanges())
    # It reaches for three of the five that are not word for word.
    (event,) = look(asked + 6)
    assert event.kind == "demoted"
    assert "judge_budget" in event.reason
    assert len(model.bodies) == asked + 6
    promotion = registry.promotions()["t"]
    assert (promotion.certificate, promotion.by) == (None, "audit")
    (row,) = read_alarms(store)
    assert row.alarm.by == "judge"
    # What was judged stays counted, and that nobody looks any more ends it once only.
    assert latest_state(store, "t").live.seen.answers == 6
    assert look(asked + 100) == []


def test_a_budget_that_does_not_reach_leaves_out_the_latest(case, model, make_judge):
    found = judged(case, make_judge(budget=201))
    assert len(model.bodies) == 200
    assert found.data.seq.tolist() == list(range(1, 101))
    assert found.judgement.n == 100


def test_a_comparison_of_yes_and_no_is_counted(case):
    candidate = msgspec.structs.replace(case[0], method="binomial", compare="rouge:0.5")
    found = judged((candidate, *case[1:]), RougeComparison(0.5))
    test = found.judgement.tests[0]
    assert (test.answered, test.disagreements, test.partial) == (360, 4, ())


def test_another_comparison_than_the_one_registered_is_refused(case):
    compared = Compared("rouge:0.5", RougeComparison(0.5).fingerprint)
    candidate = msgspec.structs.replace(case[0], compared=compared, compare="rouge:0.5")
    with pytest.raises(SettingError, match=r"that has changed to 'rouge:0.4' .* a new attempt"):
        judged((candidate, *case[1:]), RougeComparison(0.4))


class Dear(RougeComparison):
    free = False


def test_deferred_requests_are_evidence_where_losses_are_free(case):
    candidate, student, data = case
    candidate = msgspec.structs.replace(
        candidate, method="anytime", compare="exact", epsilon=0.2, share=1.0
    )
    deferred = np.arange(N) % 4 > 0
    data = msgspec.structs.replace(
        data,
        texts=[student.texts[i] for i in range(N)],
        answers=[student.texts[i] for i in range(N)],
        unbiased=~deferred,
        probability=np.full(N, 0.25),
        weight=np.where(deferred, 0.25, 1.0),
    )
    found = judged((candidate, student, data), ExactComparison("text"))
    assert found.judgement.exchanges == len(found.data) == len(found.answers) == (~deferred).sum()
    assert len(found.deferred) == deferred.sum()
    task = Task(id="t", name="hours", template=None)
    certificate = write_certificate(task, candidate, found)
    assert verify(certificate).holds, verify(certificate).problems
    assert certificate.deferred_window == found.deferred.window()
    assert certificate.coverage == pytest.approx(0.9, abs=0.01)
    # One look, or a comparison that may cost money, is for what the audit picked.
    for other, comparison in (
        ("binomial", ExactComparison("text")),
        ("anytime", Dear(0.5)),
    ):
        changed = msgspec.structs.replace(candidate, method=other, compare="rouge:0.5")
        found = judged((changed, student, data), comparison)
        assert len(found.deferred) == 0
        assert not found.judgement.tests[0].weighed
