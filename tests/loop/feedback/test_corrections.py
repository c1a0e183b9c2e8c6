"""Corrections: which are believed, and what the loop makes of them."""

import msgspec
import pytest

from made_up import QUEUES, tickets
from openwheel.access import KeyStore
from openwheel.loop.data import load_answers
from openwheel.loop.feedback.accuracy import accuracy
from openwheel.loop.feedback.corrections import corrected, sort_corrections, task_corrections
from openwheel.loop.feedback.desk import FeedbackDesk, FeedbackError, read_feedback
from openwheel.loop.registry import Registry
from openwheel.loop.turn.curate import curate
from openwheel.store.feedback import Corrected, FeedbackStore
from openwheel.wire import Answer

OTHER = dict(zip(QUEUES, [*list(QUEUES)[1:], "billing"], strict=True))


def said(seq, key, answer, inputs="a", spoken=0.0):
    exchange = (f"e{seq}", 0.0, f'["{inputs}"]', "", "x", "teacher", None)
    return Corrected(seq, key, spoken, answer, *exchange)


def believed(rows, trusts, labels=1_000, **more):
    found = sort_corrections(rows, trusts, "label", labels=labels, **more)
    return {seq: one.answer for seq, one in found.believed.items()}


def test_low_trust_alone_is_not_believed_and_confirmed_is():
    low = dict.fromkeys(range(1, 11), "low")
    assert believed([said(1, 1, "x")], low) == {}
    assert believed([said(1, 1, "x"), said(2, 2, "x")], low) == {1: "x", 2: "x"}
    assert believed([said(1, 1, "x"), said(2, 1, "x")], low) == {}  # one key is one voice
    assert believed([said(1, 1, "x"), said(2, 2, "y")], low) == {}
    trusted = {**low, 2: "normal"}
    assert believed([said(1, 1, "x"), said(2, 2, "x")], trusted) == {1: "x", 2: "x"}
    assert believed([said(1, 1, "x", "a"), said(2, 2, "x", "b")], trusted) == {2: "x"}


def test_a_small_share_of_all_keys_cannot_confirm_itself():
    low = dict.fromkeys(range(1, 41), "low")
    rows = [said(seq, seq, "x") for seq in range(1, 6)]
    assert believed(rows[:4], low) == {}
    assert set(believed(rows, low)) == {1, 2, 3, 4, 5}


def test_more_trust_outranks_less_and_equal_trust_that_disagrees_is_not_believed():
    trusts = {1: "high", 2: "normal", 3: "normal", 4: "low", 5: "none"}
    assert believed([said(1, 2, "x"), said(1, 1, "y")], trusts) == {1: "y"}
    assert believed([said(1, 2, "x"), said(1, 3, "y")], trusts) == {}
    assert believed([said(1, 5, "x")], trusts) == {}
    assert believed([said(1, 99, "x")], trusts) == {}  # made before there was trust
    assert believed([said(1, 0, "x")], trusts) == {1: "x"}  # a gateway without keys


@pytest.mark.parametrize(("trust", "most"), [("normal", 20), ("high", 500)])
def test_one_key_has_a_limited_share(trust, most):
    rows = [said(seq, 1, "x", str(seq)) for seq in range(1, 801)]
    found = sort_corrections(rows, {1: trust}, "label", labels=1_000)
    assert set(found.believed) == set(range(801 - most, 801))
    assert found.beyond == 800 - most


def test_what_is_no_answer_of_the_task_is_not_used():
    assert believed([said(1, 1, "x")], {1: "high"}, classes=frozenset({"y"})) == {}
    found = sort_corrections([said(1, 1, "text")], {1: "high"}, "record", labels=9)
    assert (len(found.believed), found.unusable) == (0, 1)
    found = sort_corrections([said(1, 1, '{"b":1, "a":2}')], {1: "high"}, "record", labels=9)
    assert found.believed[1].answer == '{"a":2,"b":1}'


@pytest.fixture
def filled(store, registry, fill):
    fill(tickets(600))
    curate(store, registry)
    (record,) = registry.tasks()
    return record


def take(store, seq, **fields):
    (exchange,) = (e for _, e in store.exchanges(after=seq - 1, until=seq))
    body = msgspec.json.encode({"id": exchange.id, **fields})
    return FeedbackDesk(store).take(read_feedback(body), None)


def test_a_correction_outranks_the_teacher_in_training_alone(store, filled):
    data = load_answers(store, filled.task.id, filled.form)
    wrong = OTHER[data.answers[9]]
    assert take(store, int(data.seq[9]), correction=f" {wrong}\n") == "label"
    again = load_answers(store, filled.task.id, filled.form)
    assert again.answers == data.answers  # what calibration and audits look at
    training = corrected(store, filled, again)
    changed = [i for i in range(len(data)) if training.answers[i] != data.answers[i]]
    assert changed == [9]
    assert training.answers[9] == wrong


def test_a_label_that_no_answer_had_is_refused_with_the_reason(store, filled):
    with pytest.raises(FeedbackError, match="one of the 4 answers of its task, such as 'account'"):
        take(store, 1, correction="nonsense")
    assert FeedbackStore(store).latest() == []
    assert take(store, 1, score=0.5) == "label"


def test_deleting_an_exchange_deletes_what_was_said_of_it(store, filled):
    take(store, 1, label="bad")
    with store.write() as connection:
        connection.exec_driver_sql("DELETE FROM exchanges WHERE seq = 1")
    assert FeedbackStore(store).latest() == []


def test_trust_counts_as_it_is_now(store, filled):
    key, _ = KeyStore(store).create("app")
    data = load_answers(store, filled.task.id, filled.form)
    FeedbackStore(store).put(5, key.id, correction=OTHER[data.answers[4]])
    assert not task_corrections(store, filled, data).believed
    KeyStore(store).set_trust("app", "normal")
    assert set(task_corrections(store, filled, data).believed) == {5}
    KeyStore(store).revoke("app")
    assert not task_corrections(store, filled, data).believed


def student_said(store, name, answer, *, audited="", source="student"):
    """Have a student answer what the first exchange asked, and perhaps the teacher as well."""
    (first,) = (e for _, e in store.exchanges(until=1))
    change = {"request": first.request.replace(b" ", b"  ", 1), "unbiased": False}
    served = msgspec.structs.replace(
        first, id=name, answer=Answer(answer), source=source, student="s", **change
    )
    rows = [served]
    if audited:
        rows.append(
            msgspec.structs.replace(
                first,
                id=f"{name}-audit",
                answer=Answer(audited),
                source="teacher",
                student="s",
                student_answer=answer,
                request=served.request,
            )
        )
    store.append(rows)
    curate(store, Registry(store), after=store.last_seq() - len(rows))
    return next(seq for seq, e in store.exchanges() if e.id == name)


def test_a_students_corrected_answer_trains_and_its_audit_is_replaced(store, filled, fill):
    alone = student_said(store, "alone", "billing")
    twice = student_said(store, "twice", "billing", audited="product")
    fill(tickets(5, seed=9))
    curate(store, Registry(store), after=store.last_seq() - 5)
    before = load_answers(store, filled.task.id, filled.form)
    for seq in (alone, twice):
        take(store, seq, correction="delivery")
    training = corrected(store, filled, before)
    assert len(training) == len(before) + 1
    at = training.seq.tolist()
    assert at == sorted(at)
    assert training.answers[at.index(alone)] == "delivery"
    assert not training.unbiased[at.index(alone)]
    assert training.answers[at.index(twice + 1)] == "delivery"


def test_an_answer_of_best_effort_teaches_only_what_a_person_says_of_it(store, filled):
    before = load_answers(store, filled.task.id, filled.form)
    said = student_said(store, "unsure", "billing", source="best_effort")
    other = student_said(store, "other", "billing", source="best_effort")
    # Between exchanges of the teacher, since only what they span can train.
    last = student_said(store, "teacher", "billing", source="teacher")
    labels = load_answers(store, filled.task.id, filled.form)
    assert set(labels.seq.tolist()) == {*before.seq.tolist(), last}
    take(store, said, correction="delivery")
    training = corrected(store, filled, labels)
    at = training.seq.tolist()
    assert training.answers[at.index(said)] == "delivery"
    assert not training.unbiased[at.index(said)]
    assert other not in at
    (found,) = accuracy(store, filled.task.id)
    assert (found.teacher.n, found.student.n, found.both_student.n) == (0, 0, 0)


def test_accuracy_is_told_of_teacher_and_student_side_by_side(store, filled):
    for name, audited in (("one", "delivery"), ("two", "product"), ("three", "")):
        seq = student_said(store, name, "product", audited=audited)
        take(store, seq, correction="delivery")
    take(store, 2, correction="product")
    (found,) = accuracy(store, filled.task.id)
    (first,) = (e for seq, e in store.exchanges(after=1, until=2))
    teacher_right = 1 + (first.answer.text == "product")
    assert (found.teacher.n, found.teacher.right) == (3, teacher_right)
    assert (found.student.n, found.student.right) == (3, 0)
    assert (found.both_teacher.n, found.both_teacher.right) == (2, 1)
    assert (found.both_student.n, found.both_student.right) == (2, 0)
    low, high = found.both_teacher.interval
    assert low < 0.5 < high
