import msgspec
import pytest

from openwheel.store import (
    Exchange,
    audits,
    certificates,
    drift,
    promotions,
    students,
    tasks,
    turns,
)
from openwheel.store.drift import Place, VersionKey
from openwheel.wire import Answer


class Body(msgspec.Struct, frozen=True):
    """Stands for what later stages keep."""

    text: str


@pytest.fixture
def store(both):
    return both


@pytest.fixture
def kept(store):
    with store.write() as transaction:
        for name in ("b", "a"):
            tasks.add(transaction, name, f"task {name}", Body(name), form_reason="new")
            students.add(
                transaction, f"s{name}", name, rung="linear", state="shadow", body=Body(name)
            )
        certificates.add(transaction, "c", Body("c"), task_id="a", student_id="sa")
    return store


def exchange(name, *, source="teacher", model="m", fingerprint="", student_answer=None):
    return Exchange(
        id=name,
        time=1.0,
        request=b"{}",
        answer=Answer("x"),
        source=source,
        model=model,
        teacher="gpu",
        fingerprint=fingerprint,
        student="s",
        student_answer=student_answer,
    )


def test_tasks_come_back_in_the_order_in_which_they_came(kept):
    with kept.write() as transaction:
        tasks.set_form(transaction, "b", "label", "few answers", ("case",))
        assert [tasks.count_attempt(transaction, "b") for _ in range(2)] == [1, 2]
        tasks.set_trained_on(transaction, "b", 7)
        found = tasks.read(transaction)
    assert [msgspec.json.decode(one.task, type=Body).text for one in found] == ["b", "a"]
    assert found[0][1:] == ("label", "few answers", 2, 7, ("case",))
    assert found[1][1:] == ("unknown", "new", 0, 0, ())


def test_what_has_judged_only_grows(kept):
    with kept.write() as transaction:
        assert tasks.judged_until(transaction, "a") == 0
        for until in (5, 3):
            tasks.set_judged(transaction, "a", until)
        assert tasks.judged_until(transaction, "a") == 5


def test_students_move_from_state_to_state(kept):
    with kept.write() as transaction:
        students.move(transaction, "a", "shadow", "replaced")
        students.put(transaction, "sa", Body("anew"))
        assert students.state_of(transaction, "sa") == "replaced"
        assert students.find(transaction, Body, "sa") == Body("anew")
        shadows = students.read(transaction, Body, state="shadow")
        assert [body.text for body, _, _ in shadows] == ["b"]
        students.delete(transaction, "sb")
        assert students.read(transaction, Body, task_id="b") == []


def test_promotions_know_their_student_and_the_newest_exchange(kept):
    kept.append([exchange("e1")])
    with kept.write() as transaction:
        before = promotions.version(transaction)
        first = promotions.add(transaction, "a", "c", by="turn", reason="")
        assert promotions.latest(transaction, "a") == first
        assert promotions.student_of(transaction, first) == "sa"
        assert promotions.version(transaction) != before
        for text in ("first", "second"):
            promotions.add_plan(transaction, first, Body(text))
        assert promotions.read_plans(transaction, Body) == {first: Body("second")}
        second = promotions.add(transaction, "a", None, by="audit", reason="")
        assert promotions.student_of(transaction, second) is None
        assert promotions.latest(transaction, "b") == 0
        rows = promotions.read(transaction)
    assert [(row.id, row.student_id, row.after_seq) for row in rows] == [
        (first, "sa", 1),
        (second, None, 1),
    ]


def test_a_state_of_audits_is_moved_by_whoever_knows_where_it_was(kept):
    with kept.write() as transaction:
        row = promotions.add(transaction, "a", "c", by="turn", reason="")

        def move(cursor, before):
            body = Body(str(cursor))
            return audits.move_state(transaction, row, "a", body, cursor=cursor, before=before)

        assert move(3, None)
        assert not move(4, None)
        assert not move(5, 4)
        assert move(6, 3)
        assert audits.find_state(transaction, Body, row) == Body("6")
        assert audits.latest_state(transaction, Body, "a") == Body("6")
        assert audits.find_state(transaction, Body, row + 1) is None


def test_requests_are_counted_without_the_audits_beside_them(kept):
    kept.append(
        [
            exchange("1"),
            exchange("2", source="student"),
            exchange("2-audit", student_answer="x"),
            exchange("3", source="best_effort"),
            exchange("4", student_answer="x"),
        ]
    )
    kept.assign((seq, "a", "[]", "") for seq in range(1, 6))
    with kept.read() as transaction:
        assert audits.count_requests(transaction, "a", after=0, until=5) == (4, 1, 1)
        assert audits.count_latest(transaction, "a", after=0, limit=9) == (4, 1, 1)
        assert audits.count_latest(transaction, "a", after=0, limit=1) == (1, 0, 1)
        assert audits.count_labels(transaction, "a", after=1) == 2
        found = audits.audited(transaction, "s", after=0, until=9, limit=9)
    assert [(row.id, row.size) for row in found] == [("2-audit", 2), ("4", 2)]


def test_a_version_is_seen_where_it_answered_first(kept):
    kept.append([exchange(f"{i}", model=model) for i, model in enumerate(["m", "n", "m", "n"])])
    settings = '{"model":"asked"}'
    kept.assign((seq, "a", "[]", settings if seq > 2 else "") for seq in range(1, 5))

    def version(model, asked):
        return VersionKey("a", True, "gpu", model, "", asked)

    with kept.write() as transaction:
        seen = drift.first_seen(transaction, "a", 3)
        assert seen == {
            version("m", ""): Place(1, "0", 1.0),
            version("n", ""): Place(2, "1", 1.0),
            version("m", "asked"): Place(3, "2", 1.0),
        }
        drift.add_versions(transaction, seen, {"a": 3})
        # Neither a later place nor an earlier cursor replaces what is known.
        drift.add_versions(transaction, {version("m", ""): Place(9, "x", 2.0)}, {"a": 1})
        assert drift.read_versions(transaction) == seen
        assert drift.cursors(transaction) == {"a": 3}


def test_a_turn_that_ends_clears_failures_at_no_task_alone(store):
    with store.write() as transaction:
        turns.add_failure(transaction, "t", None)
        turns.add_failure(transaction, None, "no memory")
        assert [one.reason for one in turns.failures(transaction)] == [None, "no memory"]
        turns.add(transaction, 5, (Body("x"),), seconds=1.0)
        assert [one.task_id for one in turns.failures(transaction)] == ["t"]
        turns.forget_failures(transaction, "t")
        assert turns.failures(transaction) == []
        assert turns.last(transaction)[0] == 5
        assert turns.read(transaction, tuple[Body, ...]) == [(5, (Body("x"),))]
