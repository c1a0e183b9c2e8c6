import json
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

from openwheel.gate import spent, verify
from openwheel.loop.audit.step import audit
from openwheel.loop.drift.check import check_teachers
from openwheel.loop.drift.records import read_changes
from openwheel.loop.drift.versions_seen import see
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.loop.turn.turn import turn
from openwheel.store import Store
from openwheel.store.schema import MIGRATIONS

from .conftest import Who

SETTINGS = LoopSettings()
NEXT = Who(model="big-2", fingerprint="fp_z")


def take_turn(store):
    turns = Registry(store).turns()
    return turn(store, SETTINGS, after=turns[-1].looked_at if turns else 0)


def look(store, settings=SETTINGS):
    """Look at who answers, as a learner does between turns."""
    registry = Registry(store)
    until = assign_new(store, registry, after=0)
    return check_teachers(store, registry, settings, until=until)


def kinds(done):
    return [event.kind for event in done.events]


def test_another_model_takes_the_student_off_and_it_is_certified_anew(
    store, registry, traffic, certified
):
    worker = RegistryServing(registry)
    assert worker.students()
    first = traffic(5, NEXT)
    turned = take_turn(store)
    (demoted,) = [event for event in turned.events if event.kind == "demoted"]
    for said in (
        "another model",
        "big-2 at gpu (fp_z)",
        "big-1 at gpu (fp_a)",
        first,
        "2023-11-14",
    ):
        assert said in demoted.reason
    promotion = registry.promotions()[certified.task]
    assert (promotion.certificate, promotion.by) == (None, "teacher")
    assert promotion.reason == demoted.reason
    assert worker.refresh()
    assert not worker.students()  # nothing uncertified is served
    (shadow, _, _) = registry.candidates(state="shadow")[0]
    assert shadow.id == certified.student
    assert (shadow.attempt, shadow.method) == (2, "anytime")
    assert registry.tasks()[0].attempts == 2

    traffic(250, NEXT)
    assert "promoted" in kinds(take_turn(store))
    again = registry.promotions()[certified.task].certificate
    assert again.student == certified.student
    assert again.delta_spent == spent(SETTINGS.delta, 2) < certified.delta_spent
    assert again.calibration_window.first_seq > 1_000
    assert again.training == certified.training
    assert verify(again).holds
    assert audit(store, registry, SETTINGS) == []
    assert len(read_changes(store)) == 1


def test_one_that_contradicts_the_former_teacher_is_learned_anew(
    store, registry, traffic, certified
):
    traffic(230, NEXT, swapped=True)
    take_turn(store)
    states = {found.id: state for found, state, _ in registry.candidates()}
    assert states[certified.student] == "refused"
    for _ in range(6):
        traffic(200, NEXT, swapped=True)
        take_turn(store)
        promotion = registry.promotions()[certified.task]
        if promotion.certificate is not None:
            break
    assert promotion.certificate.student != certified.student
    assert promotion.certificate.training.first_seq > 1_000  # what the former said misleads


def test_a_version_that_was_there_before_is_no_change(store, registry, traffic):
    for _ in range(10):  # several teachers, by weight
        traffic(50)
        traffic(50, Who("cpu", "small", ""))
    turn(store, SETTINGS)
    assert registry.promotions()
    traffic(20, Who("cpu", "small", ""))
    traffic(20, Who("gpu", "", ""))  # an endpoint that named no model
    traffic(20)
    assert look(store) == []
    traffic(1, Who("cpu", "small-2", ""))
    assert [event.kind for event in look(store)] == ["demoted"]


def test_going_back_to_a_version_of_the_evidence_is_no_change(store, registry, traffic, certified):
    traffic(250, NEXT)
    take_turn(store)
    traffic(250, NEXT)
    take_turn(store)
    assert registry.promotions()[certified.task].certificate is not None
    traffic(10)
    assert look(store) == []


def test_whoever_answers_to_another_model_that_was_asked_for_is_no_change(
    store, registry, traffic, certified
):
    asked = {
        "model": "tried out",
        "messages": [{"role": "user", "content": "invoice tax 1 please"}],
    }
    traffic(1, Who(model="tried out"), request=json.dumps(asked).encode())
    assert look(store) == []
    assert registry.promotions()[certified.task].certificate is not None
    traffic(1, Who(model="tried out"))  # it is what answers in the student's place
    assert [event.kind for event in look(store)] == ["demoted"]


def test_changes_that_need_no_certificate_are_told_once(store, registry, traffic, certified):
    settings = LoopSettings(recertify_on=("model",))
    traffic(3, Who(fingerprint="fp_b"))
    (event,) = look(store, settings)
    assert event.kind == "changed"
    assert "another system of the same model, big-1 at gpu (fp_b)" in event.reason
    assert registry.promotions()[certified.task].certificate is not None
    traffic(3, Who(fingerprint="fp_b"))
    assert look(store, settings) == []
    (row,) = read_changes(store)
    assert (row.change.did, row.change.student) == ("told", "")
    # The same change is no news to other settings either, a further one is.
    assert look(store) == []
    traffic(1, Who(fingerprint="fp_c"))
    assert [event.kind for event in look(store)] == ["demoted"]


def test_a_shadow_is_judged_only_on_what_came_after_the_change(store, registry, traffic):
    traffic(400, who := Who())
    for exchanges in (1, 0):  # a few disagreements keep it shadowing
        traffic(40, who, swapped=bool(exchanges))
        turn(store, SETTINGS)
    shadows = registry.candidates(state="shadow")
    assert shadows, [event for done in registry.turns() for event in done.events]
    before = shadows[0][0]
    newest = store.last_seq()
    traffic(120, NEXT)
    done = take_turn(store)
    assert any("starts over" in event.reason for event in done.events)
    after = registry.candidate(before.id)
    assert (after.attempt, after.judged_after) == (before.attempt + 1, newest)
    traffic(200, NEXT)
    take_turn(store)
    (certificate, *_) = registry.certificates()
    assert certificate.calibration_window.first_seq > newest


def test_who_was_taken_off_by_hand_stays_off_and_who_was_put_on_stays_on(
    store, registry, traffic, certified
):
    registry.demote(certified.task, by="user", reason="by hand")
    traffic(250, NEXT)
    take_turn(store)
    assert registry.promotions()[certified.task].by == "user"
    registry.promote(certified, by="user", reason="by hand", audit=0.1)
    traffic(50, NEXT)
    assert look(store) == []
    traffic(1, Who(model="big-3"))
    assert [event.kind for event in look(store)] == ["demoted"]


def test_an_offline_student_is_judged_anew_by_tests_that_may_be_looked_at(store, registry, traffic):
    traffic(1_200, Who("", "big-1", ""), source="log")
    learn(store, SETTINGS, source="a log")
    (first,) = registry.certificates()
    assert first.method == "binomial"
    traffic(20)  # the endpoint tells more than the log did
    assert look(store) == []
    traffic(5, NEXT)
    assert [event.kind for event in look(store)] == ["demoted"]
    traffic(300, NEXT)
    take_turn(store)
    again = registry.promotions()[first.task].certificate
    assert (again.student, again.method) == (first.student, "anytime")
    assert verify(again).holds


def test_a_store_from_before_fingerprints_sees_no_change(tmp_path, store, traffic):
    traffic(1_000)
    turn(store, SETTINGS)
    store.close()
    connection = sqlite3.connect(store.path)
    for statement in (
        part for version in range(5, max(MIGRATIONS) + 1) for part in MIGRATIONS[version]
    ):
        added = re.match(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", statement)
        connection.execute("ALTER TABLE {} DROP COLUMN {}".format(*added.groups()))
    for table in ("teacher_versions", "teacher_looks", "teacher_changes"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("PRAGMA user_version = 4")
    connection.close()
    with Store.open(store.path) as upgraded:
        traffic.store = upgraded
        assert look(upgraded) == []
        traffic(50)
        assert look(upgraded) == []
        traffic(1, Who(fingerprint="fp_b"))
        assert [event.kind for event in look(upgraded)] == ["demoted"]


def test_a_learner_killed_between_seeing_and_acting_acts_when_it_is_back(
    store, registry, traffic, certified
):
    look(store)
    traffic(1, NEXT)
    until = assign_new(store, registry, after=0)
    see(store, [certified.task], until=until)
    with Store.open(store.path) as again:
        assert [event.kind for event in look(again)] == ["demoted"]
        assert look(again) == []
        assert len(read_changes(again)) == 1


KILLED = """
import os, random, signal, sys, time
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.drift.check import check_teachers
from openwheel.store import Store
from openwheel.store.schema import MIGRATIONS

rng = random.Random(0)
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        with Store.open(path) as store:
            check_teachers(store, Registry(store), LoopSettings())
        os._exit(0)
    time.sleep(rng.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.evidence)])
def test_a_learner_killed_at_any_moment_has_done_all_of_it_or_nothing(
    tmp_path, store, registry, traffic, certified, kills
):
    look(store)
    traffic(1, NEXT)
    assign_new(store, registry, after=0)
    store.close()  # what is in the WAL is in the file now
    copies = [shutil.copy(store.path, tmp_path / f"copy{i}.db") for i in range(kills)]
    subprocess.run([sys.executable, "-c", KILLED, *copies], check=True)
    done = 0
    for copy in copies:
        with Store.open(copy) as found:
            registry = Registry(found)
            acted = registry.promotions()[certified.task].by == "teacher"
            (candidate, state, _) = registry.candidates()[0]
            assert len(read_changes(found)) == acted
            assert registry.tasks()[0].attempts == candidate.attempt == 1 + acted
            assert (state == "shadow") == acted
            done += acted
            look(found)
            assert registry.promotions()[certified.task].by == "teacher"
            assert registry.tasks()[0].attempts == 2
    assert done < len(copies)
