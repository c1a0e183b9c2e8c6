"""Where a request goes, and what is kept of it: what it is evidence of, and by which weight."""

import msgspec
import pytest

from openwheel.loop.data import load_answers
from openwheel.loop.route import UNDECIDED, by_teacher, route
from openwheel.loop.serving import Decision
from openwheel.loop.turn.shadow import evidence
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

ANSWERED = Decision(
    task="route", student="linear-1", answer="mill", confidence=0.9, audit_probability=0.1
)
DEFERRED = Decision(
    task="route",
    student="linear-1",
    below_threshold_answer="mill",
    reason="confidence",
    confidence=0.2,
    audit_probability=0.1,
)
NOBODY = Decision(task="route", audit_probability=1.0)


CANARY = msgspec.structs.replace(ANSWERED, audit_probability=0.84, canary=0.2)


@pytest.mark.parametrize(
    ("decision", "draw", "way", "student", "weight"),
    [
        (NOBODY, 0.0, (False, False, True), "", 1.0),
        (NOBODY, 0.99, (False, False, True), "", 1.0),
        (UNDECIDED, 0.0, (False, False, False), "", 0.0),
        (ANSWERED, 0.09, (False, True, True), "linear-1", 1.0),
        (ANSWERED, 0.1, (False, False, False), "", 0.0),
        # What is held back is sent to the teacher, too.
        (CANARY, 0.79, (True, True, True), "linear-1", 1.0),
        (CANARY, 0.83, (False, True, True), "linear-1", 1.0),
        (CANARY, 0.84, (False, False, False), "", 0.0),
        (DEFERRED, 0.09, (False, True, True), "linear-1", 0.1),
        (DEFERRED, 0.1, (False, False, False), "linear-1", 0.1),
    ],
)
def test_each_request_is_expected_to_weigh_the_same(tmp_path, decision, draw, way, student, weight):
    found = route(decision, draw)
    assert found == way
    asked = Exchange(id="1", request=b"{}", answer=Answer("mill"), source="teacher")
    kept = by_teacher(asked, decision, found)
    assert (kept.student, kept.student_guess) == (student, decision.below_threshold_answer)
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append([kept])
        store.assign([(1, "t", '["x"]', "")])
        data = load_answers(store, "t", "label")
    assert data.weight.tolist() == [weight]
    assert data.unbiased.tolist() == [found.unbiased]
    assert data.take(data.seq[:0]).weight.tolist() == []


def test_only_the_first_deferred_requests_are_evidence(tmp_path):
    decisions = [(ANSWERED, 0.05), (DEFERRED, 0.05), (DEFERRED, 0.5), (ANSWERED, 0.5)]
    exchanges = [
        by_teacher(
            Exchange(id=f"{i}", request=b"{}", answer=Answer("mill"), source="teacher"),
            decision,
            route(decision, draw),
        )
        for i, (decision, draw) in enumerate(decisions * 3)
    ]
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append(exchanges)
        store.assign((seq, "t", '["x"]', "") for seq in range(1, 13))
        data = load_answers(store, "t", "label")
        # What came after tasks were last found waits: part of it may be assigned yet.
        assert load_answers(store, "t", "label", until=5).seq.tolist() == data.seq[:5].tolist()
    every = evidence(data, 3)
    assert every.seq.tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert every.weight.tolist() == [1.0, 0.1, 0.1] * 3
    some = evidence(data, 2)
    assert some.seq.tolist() == [1, 2, 3, 5, 6, 7, 9, 10]
    assert some.weight.tolist() == [1.0, 0.1, 0.1, 1.0, 0.1, 0.1, 1.0, 1.0]
    none = evidence(data, 0)
    assert none.seq.tolist() == [1, 2, 5, 6, 9, 10]
    assert none.weight.tolist() == [1.0] * 6
