import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest
import sqlalchemy as sa

from openwheel.loop.audit.records import changed_after, latest_state, read_alarms, read_state
from openwheel.loop.audit.status import audit_status
from openwheel.loop.audit.step import audit
from openwheel.loop.data import load_answers
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.settings import TaskSection
from openwheel.store import Store
from openwheel.store.exchanges import delete_exchanges
from openwheel.store.schema import audit_watches, exchanges
from openwheel.wire import Answer

SETTINGS = LoopSettings()
GOOD = "." * 30


@pytest.fixture
def look(store, registry):
    return lambda until=None, settings=SETTINGS: audit(store, registry, settings, until=until)


def watched(store, registry):
    (promotion,) = registry.promotions().values()
    return read_state(store, promotion.since)


def test_each_audit_is_looked_at_once(store, registry, audited, look):
    for batch in (GOOD, "..x..", GOOD):
        assert look(audited(batch)) == []
        assert look() == []
    state = watched(store, registry)
    assert (state.live.seen.answers, state.live.seen.loss) == (65, 1)
    assert state.cursor == store.last_seq()
    # The loop looks at what is new: it stands although what it has seen is gone.
    gone = [seq for seq, one in store.exchanges() if one.student]
    with store.write() as connection:
        delete_exchanges(connection, gone)
    assert look(audited(GOOD)) == []
    assert watched(store, registry).live.seen.answers == 95


def test_an_audit_that_no_task_has_by_now_counts(store, registry, audited, look):
    until = audited("..x")
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE exchanges SET inputs = NULL WHERE student != ''")
    assert look(until) == []
    state = watched(store, registry)
    assert (state.live.seen.answers, state.live.seen.loss) == (3, 1)


def test_an_alarm_takes_the_student_off_and_says_why(store, registry, audited, look, decided):
    look(audited(GOOD))
    assert decided().answer == "billing"
    last_good = store.last_seq()
    (event,) = look(audited("xxxxxxx"))
    assert event.kind == "demoted"
    (promotion,) = registry.promotions().values()
    assert (promotion.certificate, promotion.by) == (None, "audit")
    assert promotion.reason == event.reason
    assert decided().reason == "no student"
    (row,) = read_alarms(store)
    assert row.demotion == promotion.id
    assert row.alarm.e_value == pytest.approx(row.alarm.limit)
    assert row.alarm.disagreed[-1] in {e.id for _, e in store.exchanges(after=last_good)}
    assert changed_after(store, promotion.task_id) == row.alarm.after_seq == last_good
    assert registry.tasks()[0].trained_on == 0
    (status,) = audit_status(store)
    assert status.student is None
    assert [alarm.reason for alarm in status.alarms] == [event.reason]


def test_a_slice_is_taken_off_alone_in_every_worker(store, registry, audited, look, decided):
    worker = RegistryServing(registry)
    look(audited(GOOD, customer="acme"))
    look(audited(GOOD, customer="globex"))
    (event,) = look(audited("xxxxxxxx", customer="initech"))
    assert event.kind == "deferred"
    assert "initech" in event.reason
    assert worker.refresh()
    assert [decided(customer).answer for customer in ("acme", "globex", "initech")] == [
        "billing",
        "billing",
        None,
    ]
    assert decided("initech").reason == "slice"
    (status,) = audit_status(store)
    assert status.deferred == ("initech",)
    assert status.student is not None
    assert {part.slice: part.off for part in status.slices} == {
        "acme": False,
        "globex": False,
        "initech": True,
    }


def test_the_share_falls_with_good_evidence_and_rises_with_doubt(
    store, registry, audited, look, decided
):
    fresh = decided().audit_probability
    assert fresh > SETTINGS.audit
    look(audited("." * 600))
    sure = decided().audit_probability
    assert sure == pytest.approx(SETTINGS.audit_least, rel=0.25)
    look(audited("x.x.xx"))  # not enough for an alarm
    assert decided().answer is not None
    assert decided().audit_probability == pytest.approx(fresh)


def test_guesses_that_became_wrong_raise_the_share_for_a_while(
    store, registry, audited, deferred, look, decided
):
    fresh = decided().audit_probability
    look(audited("." * 600))
    sure = decided().audit_probability
    look(deferred("..x" * 100))  # a third is usual
    assert decided().audit_probability == sure
    look(deferred("xx." * 100))
    assert decided().audit_probability == pytest.approx(fresh)
    assert decided().answer == "billing"
    (status,) = audit_status(store)
    assert "student would have been wrong more often" in status.plan
    assert status.audits == 600  # a guess is no audit
    (told,) = (one for one in status.signals if one.signal == "wrong-guesses")
    assert (told.up, told.raised) == (True, 1)
    assert 600 < told.until < 1_200
    # Audits find nothing: it falls again, and what is usual now raises nothing.
    look(audited("." * (told.until - 600)))
    look(deferred("xx." * 100))
    (status,) = audit_status(store)
    assert decided().audit_probability < fresh / 2
    assert not any(one.up for one in status.signals)
    assert "without doubt" in status.plan


@pytest.mark.parametrize("kind", ["?", "r"])
def test_answers_that_the_student_does_not_know_raise_the_share(
    store, registry, audited, deferred, look, decided, kind
):
    """Also where it has no guess at all."""
    look(audited("." * 600))
    sure = decided().audit_probability
    look(deferred("." * 300, guess=None))
    assert decided().audit_probability == sure
    look(deferred(f"...{kind}" * 20, guess=None))
    assert decided().audit_probability > 2 * sure
    (status,) = audit_status(store)
    assert "answers to deferred requests that the student does not know" in status.plan
    assert [one.signal for one in status.signals if one.up] == ["unknown-deferred"]


def test_a_watch_from_before_signals_goes_on(store, registry, audited, deferred, look):
    look(audited(GOOD))
    with store.write() as connection:
        kept = json.loads(connection.execute(sa.select(audit_watches.c.watch)).scalar_one())
        del kept["signals"]
        connection.execute(sa.update(audit_watches).values(watch=json.dumps(kept).encode()))
    deferred("." * 10)
    look(audited("."))
    state = watched(store, registry)
    assert state.live.seen.answers == 31
    assert state.signals["wrong-guesses"].detector.seen.answers == 10


def test_an_audit_whose_request_the_teacher_rejects_is_lost(store, registry, audited, look):
    """So is one whose answer is cut off, though what there is of it is the student's."""
    look(audited(GOOD))
    until = audited("...")
    ids = [one.id for _, one in store.exchanges(after=store.last_seq() - 3)]
    with store.write() as connection:
        for identity, text, finish in ((ids[0], "", "rejected"), (ids[1], "billing", "length")):
            change = sa.update(exchanges).where(exchanges.c.id == identity)
            connection.execute(change.values(text=text, finish_reason=finish))
    labels = len(load_answers(store, registry.tasks()[0].task.id, "label"))
    look(until)
    seen = watched(store, registry).live.seen
    assert (seen.answers, seen.loss) == (33, 2)
    assert watched(store, registry).disagreed == (ids[0], ids[1])
    assert len(load_answers(store, registry.tasks()[0].task.id, "label")) == labels


def test_money_brings_the_share_down(store, registry, audited, look, decided):
    dear = LoopSettings(
        prices={"big": (10_000.0, 0.0)},
        tasks={registry.tasks()[0].task.name: TaskSection(audit_dollars=0.5)},
    )
    look(audited("." * 20, usage=100), dear)  # a dollar each
    (status,) = audit_status(store)
    assert status.cost == pytest.approx(20.0)
    assert decided().audit_probability < SETTINGS.audit


def test_a_canary_grows_with_audits(store, registry, audited, look, decided):
    (certificate,) = registry.certificates()
    registry.demote(certificate.task, by="user", reason="by hand")
    registry.promote(certificate, by="turn", reason="again", audit=0.2, canary=0.2)
    shares = [decided().canary]
    for _ in range(7):
        look(audited("." * 10, probability=0.84))
        shares.append(decided().canary)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.2, 1.0)
    assert 0.2 < shares[3] < 1
    assert watched(store, registry).live.seen.answers == 70  # those of the promotion before: none


def test_audits_of_others_and_of_before_do_not_count(store, registry, audited, look):
    audited("xxx")
    (certificate,) = registry.certificates()
    registry.demote(certificate.task, by="user", reason="by hand")
    registry.promote(certificate, by="user", reason="by hand", audit=0.2)
    assert look(audited(".")) == []
    assert watched(store, registry).live.seen.answers == 1


@pytest.mark.parametrize("looks", [2, 4])
def test_looks_at_the_same_time_count_once(store, registry, audited, looks, tmp_path):
    until = audited(GOOD + "x" + GOOD)
    errors, begin = [], threading.Barrier(looks)

    def run():
        with Store.open(tmp_path / "openwheel.db") as mine:
            begin.wait()
            try:
                audit(mine, Registry(mine), SETTINGS, until=until)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(looks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    seen = watched(store, registry).live.seen
    assert (seen.answers, seen.loss) == (61, 1)


AUDITOR = """
import sys
from openwheel.loop.audit.step import audit
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
with Store.open(sys.argv[1]) as store:
    registry = Registry(store)
    print("ready", flush=True)
    while True:
        audit(store, registry, LoopSettings())
"""


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.evidence)])
def test_a_learner_killed_between_reading_and_writing_loses_and_repeats_nothing(
    store, registry, audited, tmp_path, kills
):
    """It is killed while the store is locked, so that what it read it cannot write."""
    rng, total, wrong = random.Random(1), 0, 0
    for _ in range(kills):
        batch = "".join("x" if rng.random() < 0.02 else "." for _ in range(40))
        process = subprocess.Popen(
            [sys.executable, "-c", AUDITOR, str(tmp_path / "openwheel.db")],
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        assert process.stdout.readline() == b"ready\n"
        audited(batch)
        total, wrong = total + len(batch), wrong + batch.count("x")
        with store.write():  # it reads, and waits here to write
            time.sleep(rng.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()
        state = latest_state(store, registry.tasks()[0].task.id)
        assert state is None or state.live.seen.answers <= total
    assert audit(store, registry, SETTINGS) == []
    state = watched(store, registry)
    assert (state.live.seen.answers, state.live.seen.loss) == (total, wrong)
    # And at the alarm: either all of it is there, or nothing.
    audited("x" * 10)
    process = subprocess.Popen(
        [sys.executable, "-c", AUDITOR, str(tmp_path / "openwheel.db")],
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (promotion,) = registry.promotions().values()
    assert (promotion.certificate is None) == bool(read_alarms(store))
    audit(store, registry, SETTINGS)
    (promotion,) = registry.promotions().values()
    assert promotion.certificate is None
    assert len(read_alarms(store)) == 1


def test_best_effort_is_no_audit_and_no_coverage_and_teaches_nothing(
    store, registry, audited, look, decided
):
    look(audited(GOOD))
    (before,) = audit_status(store)
    labels = len(load_answers(store, before.id, "label"))
    (_, made_of), *_ = store.exchanges(task_id=before.id)
    newest = store.last_seq()
    kinds = ["best_effort"] * 6 + ["student"] * 2
    store.append(
        [
            msgspec.structs.replace(
                made_of,
                id=f"more-{i}",
                source=kind,
                answer=Answer("shipping"),
                unbiased=False,
                student=before.student,
            )
            for i, kind in enumerate(kinds)
        ]
    )
    assign_new(store, registry, after=newest)
    look(audited("."))  # a look without audits is not worth writing
    (after,) = audit_status(store)
    assert after.audits == before.audits + 1
    assert after.requests - before.requests == 8
    assert after.answered - before.answered == 2
    assert after.best_effort == 6
    assert after.coverage == after.answered / after.requests
    assert len(load_answers(store, before.id, "label")) == labels + 1


def test_a_comparison_that_cannot_be_made_holds_up_no_other_task(store, registry, audited, look):
    """And says so; the task it is of may have been promoted by another comparison."""
    until = audited("xxxxxxxx")
    name = registry.tasks()[0].task.name
    wrong = LoopSettings(tasks={name: TaskSection(compare="rouge:0.5")})
    (event,) = look(until, wrong)
    assert (event.task, event.kind) == (name, "trouble")
    assert "its audits are not looked at" in event.reason
    (event,) = look(until)
    assert event.kind == "demoted"
