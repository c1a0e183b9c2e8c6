"""The whole loop as real processes, while its learner, its teacher and its clock fail it.

`make test` has each failure by itself: test_workers, test_learners, test_supervisor,
test_teacher_down and test_teacher_changes here, test_killed and test_clocks in tests/loop.
"""

import pytest

from openwheel.loop.audit.records import read_alarms
from openwheel.store import Store
from processes.clock import Clock
from processes.live_load import LiveLoad
from processes.live_run import Run
from processes.live_store import (
    every_answer_is_there_once,
    every_attempt_was_paid_for,
    every_promotion_has_a_certificate,
    is_whole,
)
from processes.live_tasks import TASKS

MEANWHILE = {3: (1, 2, 2, 2, 3, 3), 20: (3, 6, 8, 10, 13, 16)}
"""By the number of kills: after which of them something else happens too. While the teacher is dead
nothing new comes in, so with few kills a turn to kill might not come: it is back at once then."""

SETTINGS = """
[gateway]
workers = {workers}

[capture]
mode = "strict"
strict_timeout = 60
keep_days = 10  # less than the clock is ahead for a while

[loop]
audit = 0.2
turn_every = 1
turn_nice = 0  # else other tests, and clients, keep the learner from the processors

[[teachers]]
name = "big"
url = "{url}"
"""


@pytest.mark.evidence
@pytest.mark.parametrize(("kills", "workers"), [(3, 2), (20, 4)])
def test_nothing_is_lost_and_nothing_promoted_without_a_certificate(
    up, live_teacher, tmp_path, seed, say, kills, workers
):
    """Turns are killed, a worker and the teacher too; the settings are read again; the clock
    is put a month ahead, then a day back, then right. At last the teacher changes its mind."""
    clock = Clock(tmp_path)
    (tmp_path / "openwheel.toml").write_text(SETTINGS.format(url=live_teacher.url, workers=workers))
    gateway = up(env=clock.environment)
    with LiveLoad([gateway.port], seed) as load:
        run = Run(gateway, live_teacher, load, seed)
        meanwhile = (
            lambda: clock.set(days=30),
            run.kill_teacher,
            run.start_teacher,
            lambda: clock.set(days=-1),
            run.kill_worker,
            lambda: clock.set(days=0),
        )
        for number in range(1, kills + 1):
            run.kill_turn()
            say(f"{number} turns killed, {len(load.asked)} asked, attempts {run.attempts}")
            for after, happens in zip(MEANWHILE[kills], meanwhile, strict=True):
                if after == number:
                    happens()
            if number % 5 == 0 or number == kills:
                run.reload()

        both = run.until_all_workers_know(
            lambda: run.until(lambda: len(run.peek.promoted()) == len(TASKS))
        )
        say(f"both promoted, known after {max(both):.2f} s")
        by_hand, by_audit = sorted(run.peek.promoted())
        asked = len(load.asked)
        run.until(lambda: len(load.asked) > asked + 200)
        known = run.until_all_workers_know(lambda: run.openwheel("demote", by_hand))
        say(f"{by_hand} demoted, known after {max(known):.2f} s")
        run.kill_teacher()
        run.start_teacher(*TASKS)
        known = run.until_all_workers_know(lambda: run.until(lambda: not run.peek.promoted()))
        say(f"{by_audit} demoted by its audits, known after {max(known):.2f} s")
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log
    assert not [pid for pid in run.processes if gateway.is_alive(pid)]
    failed = [one for one in load.asked if one.status != 200]
    say(f"{len(load.asked)} asked, {len(failed)} failed")

    assert [one for one in failed if not run.is_excused(one)] == []
    assert {one.source for one in load.asked if one.status == 200} == {"teacher", "student"}
    assert run.forgotten == set()
    is_whole(tmp_path / "openwheel.db")
    with Store.open(tmp_path / "openwheel.db") as store:
        every_answer_is_there_once(store, load.asked)
        assert every_promotion_has_a_certificate(store) >= len(TASKS)
        every_attempt_was_paid_for(store, run.attempts)
        assert [alarm.demotion is not None for alarm in read_alarms(store)] == [True]
