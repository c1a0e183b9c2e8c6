"""``openwheel audits`` and the alarms that the other lists show, as a user runs them."""

import json

import pytest

from cli.runner import run
from openwheel.gate.monitors import ConfidenceSequence
from openwheel.loop.audit.step import audit
from openwheel.loop.drift.self_disagreement import SelfDisagreement, write_self_disagreement
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.store import Exchange, Store
from openwheel.wire import Answer


@pytest.fixture
def openwheel(learned):
    def said(*arguments, code=0):
        done = run(*arguments, cwd=learned, code=code)
        return done.stdout or done.stderr

    return said


def put(path, losses, model=""):
    """Put audits into a store and look at them: ``x`` disagrees."""
    with Store.open(path) as store:
        registry = Registry(store)
        (certificate,) = registry.certificates()
        newest = store.last_seq()
        asked = json.dumps({"messages": [{"role": "user", "content": "invoice tax 1"}]}).encode()
        store.append(
            [
                Exchange(
                    id=f"r{newest + i}-audit",
                    request=asked,
                    answer=Answer("account" if kind == "x" else "billing"),
                    source="teacher",
                    teacher="gpu",
                    model=model,
                    audit_probability=0.2,
                    student=certificate.student,
                    student_answer="billing",
                )
                for i, kind in enumerate(losses)
            ]
        )
        audit(store, registry, LoopSettings(), until=assign_new(store, registry, after=newest))


def test_audits_and_alarms_are_shown(openwheel, tmp_path):
    put(tmp_path / "openwheel.db", "." * 49 + "x")
    (found,) = json.loads(openwheel("audits", "messages", "--json"))["audits"]
    assert (found["audits"], found["loss"], found["rate"]) == (50, 1, 0.02)
    assert found["interval"][0] < 0.02 < found["interval"][1]
    assert 0 < found["e_value"] < found["e_value_limit"]
    assert found["alarms"] == []
    assert "2.00%" in openwheel("audits")
    (task,) = json.loads(openwheel("tasks", "--json"))["tasks"]
    assert task["audit"] == found

    put(tmp_path / "openwheel.db", "x" * 20)
    for command in ("tasks", "students", "certificates", ("audits", "messages")):
        words = command if isinstance(command, tuple) else (command,)
        assert "audited answers disagreed with the teacher" in openwheel(*words), command
    (found,) = json.loads(openwheel("audits", "--json"))["audits"]
    assert found["student"] is None
    assert len(found["alarms"]) == 1
    assert "no task" in openwheel("audits", "nothing", code=2)

    refused = openwheel("promote", "messages", code=2)
    assert "audited answers disagreed" in refused
    assert "--against-evidence" in refused
    openwheel("promote", "messages", "--against-evidence")
    assert "promoted by hand against the evidence: audit:" in openwheel("tasks")
    assert "against this evidence" in openwheel("students")
    assert "(against evidence)" in openwheel("audits")


def test_a_changed_teacher_and_its_disagreement_with_itself_are_shown(openwheel, tmp_path):
    database = tmp_path / "openwheel.db"
    put(database, "." * 20, model="big-1")
    with Store.open(database) as store, store.write() as connection:
        (task,) = Registry(store).tasks()
        begun = SelfDisagreement(cursor=0, live=ConfidenceSequence(0.05), failed=2)
        for loss in (0.0, 1.0, 0.0, 0.0):
            begun = begun.asked(loss)
        write_self_disagreement(connection, task.task.id, begun)
    (found,) = json.loads(openwheel("audits", "messages", "--json"))["audits"]
    teacher = found["teacher"]
    assert (teacher["asked_twice"], teacher["loss"], teacher["rate"]) == (4, 1, 0.25)
    assert teacher["interval"][0] < 0.25 < teacher["interval"][1]
    assert (teacher["usual"], teacher["failed"]) == (None, 2)
    assert [one["model"] for one in teacher["versions"]] == ["", "big-1"]
    shown = openwheel("audits", "messages")
    assert "asked again 4 times, disagreed with itself on 1: 25.00%" in shown
    assert "could not be asked again 2 times" in shown

    put(database, ".", model="big-2")
    (found,) = json.loads(openwheel("audits", "messages", "--json"))["audits"]
    (change,) = found["teacher"]["changes"]
    assert (change["kind"], change["model"], change["did"]) == ("model", "big-2", "demoted")
    assert found["student"] is None
    for words in (("tasks",), ("students",), ("certificates",), ("audits", "messages")):
        assert "the teacher changed: another model, big-2 at gpu" in openwheel(*words), words
