import json
import os
import signal
import subprocess
import sys
import threading

import msgspec
import pytest

from openwheel.loop.audit.step import audit
from openwheel.loop.drift.reask import ask_again, asking_in_background
from openwheel.loop.drift.records import read_changes
from openwheel.loop.drift.self_disagreement import (
    BASELINE,
    read_self_disagreement,
    second_answers_cost,
)
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import NO_RESOURCES
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new

from .conftest import Who

SETTINGS = LoopSettings(ask_twice=1.0)


@pytest.fixture
def ask(store, registry, traffic, resources):
    """Have the teacher give some answers, and ask it again as often as is due."""

    def answered(n=20, settings=SETTINGS, **more):
        ask_again(registry, settings, resources, **more)  # counts from here on
        traffic(n)
        assign_new(store, registry, after=0)
        return ask_again(registry, settings, resources, seed=1, **more)

    return answered


def rows(store):
    with store.read() as connection:
        return connection.exec_driver_sql(
            "SELECT seq, exchange, loss, teacher, model, dollars FROM asked_twice ORDER BY id"
        ).all()


def test_what_it_is_asked_again_is_of_the_certificates_evidence(store, model, certified, ask):
    model.name = "big-1"
    assert ask(20) == []
    window = certified.calibration_window
    stored = dict(store.exchanges())
    found = rows(store)
    assert len(found) == len(model.bodies) == 20
    assert len({row.seq for row in found}) > 10
    for row, body in zip(found, model.bodies, strict=True):
        assert window.first_seq <= row.seq <= window.last_seq
        sent = json.loads(stored[row.seq].request)
        assert sent.pop("stream") is True
        assert body == sent
        assert (row.exchange, row.loss) == (stored[row.seq].id, 0)
        assert (row.teacher, row.model) == ("gpu", "big-1")
    twice = read_self_disagreement(store, certified.task)
    assert (twice.live.seen.answers, twice.live.seen.loss, twice.failed) == (20, 0, 0)


def test_it_is_asked_a_share_of_its_answers_and_more_until_the_usual_is_known(
    store, model, certified, ask
):
    some = LoopSettings(ask_twice=0.02)
    ask(50, some)
    assert len(model.bodies) == 5
    ask(49, some)
    assert len(model.bodies) == 9  # what is left over is not lost
    ask(1, some)
    assert len(model.bodies) == 10
    while read_self_disagreement(store, certified.task).learning:
        ask(20)
    before = len(model.bodies)
    ask(100, some)
    assert len(model.bodies) == before + 2


def test_answers_that_are_not_assigned_yet_are_counted_once_they_are(
    store, registry, traffic, model, resources, certified
):
    ask_again(registry, SETTINGS, resources)
    traffic(10)
    assert ask_again(registry, SETTINGS, resources) == []
    assert model.bodies == []
    assign_new(store, registry, after=0)
    ask_again(registry, SETTINGS, resources)
    assert len(model.bodies) == 10


def test_a_change_behind_its_name_is_found_and_certified_anew(
    store, registry, model, certified, ask
):
    for _ in range(BASELINE // 20):
        assert ask(20) == []
    model.swapped = True
    events = []
    for _ in range(10):
        events += ask(20)
        if events:
            break
    (event,) = events
    assert event.kind == "demoted"
    assert "behind its name" in event.reason
    promotion = registry.promotions()[certified.task]
    assert (promotion.certificate, promotion.by, promotion.reason) == (
        None,
        "teacher",
        event.reason,
    )
    (row,) = read_changes(store)
    assert (row.change.kind, row.change.version.model) == ("disagreement", "big-1")
    (shadow, _, _) = registry.candidates(state="shadow")[0]
    assert shadow.id == certified.student
    assert shadow.attempt == 2
    assert shadow.judged_after <= store.last_seq()
    assert (
        read_self_disagreement(store, certified.task) is None
    )  # starts over with the next student
    asked = len(model.bodies)
    assert ask(20) == []  # nobody is promoted
    assert len(model.bodies) == asked


def test_a_jump_is_only_told_where_it_is_to_be(store, registry, model, certified, ask):
    told = LoopSettings(ask_twice=1.0, recertify_on=("model",))
    for _ in range(BASELINE // 20):
        ask(20, told)
    model.swapped = True
    events = []
    while not events:
        events = ask(20, told)
    assert [event.kind for event in events] == ["changed"]
    assert registry.promotions()[certified.task].certificate is not None
    ask(20, told)  # what is usual is learned again
    assert read_self_disagreement(store, certified.task).learning


def test_a_teacher_that_cannot_be_asked_is_counted_and_left_in_peace(
    store, registry, model, certified, ask
):
    model.status = 503
    rests = {}
    (event,) = ask(20, rests=rests)
    rest = rests[certified.task]
    assert event.kind == "trouble"
    assert "503" in event.reason
    assert len(model.bodies) == 1
    assert rest.until > 0
    assert read_self_disagreement(store, certified.task).failed == 1
    assert rows(store) == []
    ask(20, rests=rests)
    assert len(model.bodies) == 1  # in peace
    first, rest.until = rest.next, 0.0
    ask(20, rests=rests)
    assert rest.next == 2 * first
    model.status, rest.until = 200, 0.0
    assert ask(20, rests=rests) == []
    assert rest.until == 0
    assert len(rows(store)) > 0


def test_a_teacher_that_never_answers_holds_up_nothing(
    store, registry, traffic, model, resources, certified
):
    model.go_on.clear()
    told = []
    with asking_in_background(store, SETTINGS, tell=told.extend, resources=resources, every=0.01):
        while read_self_disagreement(store, certified.task) is None:
            threading.Event().wait(0.01)
        traffic(20)
        until = assign_new(store, registry, after=0)
        assert model.asked.wait(30)
        assert audit(store, registry, SETTINGS, until=until) == []
    assert rows(store) == []  # and the block ended, though no answer came
    assert told == []


def test_it_is_off_without_a_share_or_a_teacher(
    store, registry, traffic, model, resources, certified
):
    for settings, having in ((LoopSettings(ask_twice=0.0), resources), (SETTINGS, NO_RESOURCES)):
        for _ in range(2):
            traffic(20)
            assert ask_again(registry, settings, having) == []
    assert model.bodies == []
    assert read_self_disagreement(store, certified.task) is None


def test_it_is_paid_from_the_money_for_audits(store, registry, model, certified, ask):
    dear = LoopSettings(ask_twice=1.0, audit_dollars=25.0, prices={"gpu": (10_000.0, 0.0)})
    ask(20, dear)  # ten dollars each
    task = certified.task
    assert second_answers_cost(store, task) == pytest.approx(10.0 * len(model.bodies))
    spent = len(model.bodies)
    assert spent == 3
    ask(20, dear)
    assert len(model.bodies) == spent
    assert ask(20, msgspec.structs.replace(dear, audit_dollars=0.0)) == []
    assert len(model.bodies) > spent


def test_a_certificate_from_a_log_is_compared_with_its_first_answers_here(
    store, registry, traffic, model, ask
):
    traffic(1_200, Who("", "", ""), source="log")
    learn(store, SETTINGS, source="a log")
    traffic(30)
    assign_new(store, registry, after=0)
    last = store.last_seq()
    ask(20)
    assert len(model.bodies) == 20
    assert all(1_200 < row.seq <= last + 20 for row in rows(store))


KILLED = """
import functools, sys
from openwheel.teachers import HttpTeacher, asking_again
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.drift.reask import ask_again
from openwheel.loop.resources import Resources
from openwheel.store import Store

teacher = functools.partial(HttpTeacher, sys.argv[2], name="gpu")
resources = Resources(connect_again=functools.partial(asking_again, teacher))
ask_again(Registry(Store.open(sys.argv[1])), LoopSettings(ask_twice=1.0), resources)
"""


def test_who_is_killed_between_asking_and_writing_loses_that_answer_alone(
    store, registry, traffic, model, resources, certified
):
    ask_again(registry, SETTINGS, resources)
    traffic(3)
    assign_new(store, registry, after=0)
    model.go_on.clear()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store.path), model.url], env=os.environ
    )
    assert model.asked.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    model.go_on.set()
    assert rows(store) == []
    asked = len(model.bodies)
    assert ask_again(registry, SETTINGS, resources) == []
    assert len(rows(store)) == len(model.bodies) - asked == 3
    assert ask_again(registry, SETTINGS, resources) == []
    assert len(rows(store)) == 3
