"""What is kept of a request tells what it is evidence of, and by which weight."""

import pytest

from openwheel.loop.captured import by_teacher
from openwheel.loop.data import load_answers
from openwheel.loop.serving import Decision
from openwheel.traffic import Exchange, Store
from openwheel.wire import Answer

ANSWERED = Decision(
    task="route", student="linear-1", answer="mill", confidence=0.9, audit_probability=0.1
)
DEFERRED = Decision(
    task="route",
    student="linear-1",
    guess="mill",
    reason="confidence",
    confidence=0.2,
    audit_probability=0.1,
)
NOBODY = Decision(task="route", audit_probability=1.0)


@pytest.mark.parametrize(
    ("decision", "audited", "unbiased", "student", "weight"),
    [
        (NOBODY, False, True, "", 1.0),
        (ANSWERED, True, True, "linear-1", 1.0),
        # Held back by the canary, and not picked: it says nothing that the picked ones do not.
        (ANSWERED, False, False, "", 0.0),
        (DEFERRED, True, True, "linear-1", 0.1),
        (DEFERRED, False, False, "linear-1", 0.1),
    ],
    ids=["no student", "picked", "held back", "deferred and picked", "deferred"],
)
def test_each_request_is_expected_to_weigh_the_same(
    tmp_path, decision, audited, unbiased, student, weight
):
    asked = Exchange(id="1", request=b"{}", answer=Answer("mill"), source="teacher")
    kept = by_teacher(asked, decision, audited=audited, unbiased=unbiased)
    assert (kept.student, kept.student_guess) == (student, decision.guess)
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append([kept])
        store.assign([(1, "t", '["x"]', "")])
        data = load_answers(store, "t", "label")
    assert data.weight.tolist() == [weight]
    assert data.unbiased.tolist() == [unbiased]
    assert data.take(data.seq[:0]).weight.tolist() == []
