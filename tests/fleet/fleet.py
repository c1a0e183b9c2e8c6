"""A fleet under load, and what may happen to it."""

import contextlib
import json
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from fleet import witness
from fleet.machines import Machine
from openwheel.errors import StoreError
from openwheel.loop.registry import Registry
from openwheel.store import Exchange, Store
from openwheel.store.retention import delete_old
from openwheel.wire import Answer
from postgres import Server, put_back, sql
from processes.conftest import poll
from processes.live_load import Asked
from processes.live_tasks import TASKS, answer, write
from teacher import TeacherProcess

LEASE_S = 2.0
PATIENCE_S = 120.0
"""For what is only waited for; a machine may be slow, and be busy with other things."""

OLD_DAYS = 9
OLD = 300
"""Exchanges of each task that were stored long ago."""

_SETTINGS = """
[gateway]
workers = 1

[capture]
mode = "strict"
strict_timeout = 60

[loop]
rungs = ["exact", "linear"]
audit = 0.2
epsilon = 0.1
turn_every = 1
turn_nice = 0  # else other tests, and clients, keep the learners from the processors
lease = {lease}

[[teachers]]
name = "big"
url = "{teacher}"
"""


class Change(NamedTuple):
    """A change that all gateways had to learn of.

    Attributes:
        what: Of it.
        at: Its commit, on the monotonic clock.
        took: Seconds until the last gateway served what the store said.
        told: Whether the database told of it.
    """

    what: str
    at: float
    took: float
    told: bool


class Fleet:
    """Gateways and learners that share a database, each on a machine of its own.

    Attributes:
        gateways, learners: The machines.
        deleted: Up to which ``seq`` exchanges were stored long ago.
        changes: What all gateways had to learn of.
    """

    def __init__(
        self,
        server: Server,
        url: str,
        store: Store,
        teacher: TeacherProcess,
        gateways: list[Machine],
        learners: list[Machine],
        rng: random.Random,
    ) -> None:
        self.gateways, self.learners = gateways, learners
        self.deleted = 0
        self.changes: list[Change] = []
        self._told = True
        self._server, self._url, self._teacher, self._rng = server, url, teacher, rng
        self._registry = Registry(store)
        self._away: list[tuple[float, float]] = []

    def happenings(self) -> dict[str, Callable[[], None]]:
        """Return what may happen at any time, by what it is called."""
        return {
            "a learner is killed at a task": self.kill_learner,
            "a learner is frozen at a task": self.freeze_learner,
            "a gateway's machine dies": lambda: self._rng.choice(self.gateways).kill(),
            "a gateway's worker is killed": lambda: self._rng.choice(self.gateways).kill_worker(),
            "Postgres is restarted": lambda: self.restart_postgres(signal.SIGINT),
            "Postgres crashes": lambda: self.restart_postgres(signal.SIGQUIT),
            "who listens is cut off": self.cut_off_listeners,
        }

    def kill_learner(self) -> None:
        """Kill a learner that is at a task."""
        self._one_at_a_task().kill()

    def freeze_learner(self) -> None:
        """Freeze a learner that is at a task until its lease has ended, and some time more."""
        machine = self._one_at_a_task()
        machine.freeze()
        time.sleep(LEASE_S * self._rng.uniform(1.1, 2.0))
        machine.thaw()

    def restart_postgres(self, number: int) -> None:
        """Stop Postgres, and start it after a while."""
        self._server.stop(number)
        time.sleep(self._rng.uniform(0.0, 2.0))
        self._server.start()

    def cut_off_listeners(self) -> None:
        """End the connections on which processes wait for what the database tells."""
        sql(
            self._url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'openwheel-listen'",
        )

    def tell_nothing(self) -> None:
        """From now on, have the database tell nobody of changes: all are found by looking."""
        self._told = False
        for table in ("promotions", "audit_plans", "stops", "api_keys"):
            sql(self._url, f"ALTER TABLE {table} DISABLE TRIGGER openwheel_tell")

    def drop_old(self) -> None:
        """Drop the day of long ago, as keeping the store within its days does."""
        deleted = delete_old(self._registry.store, before=time.time() - (OLD_DAYS - 1) * 86_400)
        assert deleted == self.deleted

    def change_teacher(self) -> None:
        """Have the teacher think otherwise of everything."""
        self._away.append((time.monotonic(), float("inf")))
        self._teacher.kill()
        self._teacher.start(*TASKS)
        self._away[-1] = (self._away[-1][0], time.monotonic())

    def promoted(self) -> dict[str, str]:
        """Return the student in front of each task, by the task's name, as the store has it."""
        names = {record.task.id: record.task.name for record in self._registry.tasks()}
        return {
            names[task]: one.certificate.student
            for task, one in self._registry.promotions().items()
            if one.certificate is not None
        }

    def until(self, done: Callable[[], Any]) -> Any:
        """Wait until that is true, and return it; the database may be away meanwhile."""

        def look() -> Any:
            with contextlib.suppress(StoreError, psycopg.OperationalError, urllib.error.URLError):
                return done()

        return poll(look, seconds=PATIENCE_S)

    def until_up(self) -> None:
        """Wait until every gateway answers."""
        self.until(lambda: all(machine.is_up for machine in self.gateways))

    def all_agree(self, what: str, change: Callable[[Registry], object]) -> None:
        """Make a change, and wait until every gateway serves what the store says."""
        self.until_all_agree()
        change(self._registry)
        began = time.monotonic()
        self.until_all_agree()
        self.changes.append(Change(what, began, time.monotonic() - began, self._told))

    def until_all_agree(self) -> None:
        """Wait until every gateway serves what the store says."""

        def agree() -> bool:
            students = {} if self._registry.stopped() else self.promoted()
            return all(students_of(machine) == students for machine in self.gateways)

        self.until(agree)

    def is_excused(self, one: Asked) -> bool:
        """Whether a request may have failed: its gateway was killed, or there was no teacher."""
        away = [gateway.away for gateway in self.gateways if gateway.port == one.to]
        return one.status in {0, 502, 503, 504} and any(
            one.sent <= until and one.over >= since for since, until in [*away[0], *self._away]
        )

    def last_answers_after_stops(self, asked: list[Asked]) -> list[float]:
        """Return for each stop how much later the last request was sent that a student answered."""
        ends = [one.at for one in self.changes[1:]]
        return [
            max(
                (
                    one.sent - stop.at
                    for one in asked
                    if one.source == "student" and stop.at < one.sent < end
                ),
                default=0.0,
            )
            for stop, end in zip(self.changes, ends, strict=False)
            if stop.what == "stopped"
        ]

    def machine_of(self, holder: str) -> str:
        """Return the name of the machine of a lease's holder."""
        return next((one.name for one in self.learners if one.runs(holder)), "")

    def _one_at_a_task(self) -> Machine:
        """Wait until a learner is at a task, and return it."""

        def find() -> Machine | None:
            holders = sql(
                self._url, "SELECT holder FROM leases WHERE name LIKE 'task %' AND holder <> ''"
            )
            at_work = [one for one in self.learners if any(one.runs(row[0]) for row in holders)]
            return self._rng.choice(at_work) if at_work else None

        found: Machine = self.until(find)
        return found


@contextmanager
def fleet(
    server: Server,
    url: str,
    teacher: TeacherProcess,
    folder: Path,
    rng: random.Random,
    *,
    gateways: int,
    learners: int,
) -> Iterator[Fleet]:
    """Run a fleet on an empty database until the block ends."""
    settings = _SETTINGS.format(teacher=teacher.url, lease=LEASE_S)
    names = [f"gateway{i}" for i in range(gateways)] + [f"learner{i}" for i in range(learners)]
    for name in names:  # by which the database knows who writes
        if not sql(url, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
            sql(url, f"CREATE ROLE {name} LOGIN SUPERUSER")
    up = ("up", "--no-learner", "--no-console")
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store.open(url))
        for system in TASKS:
            store.append([exchange(rng, system, number) for number in range(OLD)])
        put_back(url, OLD_DAYS)
        witness.watch(url)
        machines = [
            stack.enter_context(
                Machine(
                    folder / name,
                    url.replace("//openwheel@", f"//{name}@"),
                    up if name.startswith("gateway") else ("learner",),
                    settings,
                )
            )
            for name in names
        ]
        made = Fleet(server, url, store, teacher, machines[:gateways], machines[gateways:], rng)
        made.deleted = OLD * len(TASKS)
        made.until_up()
        yield made


class Reader:
    """Reads exchanges as they come, and sees that none comes after a later one.

    Attributes:
        gaps: Each ``seq`` that did not follow the one before.
        last: The last ``seq`` that was read.
    """

    def __init__(self, url: str, after: int) -> None:
        self.gaps: list[tuple[int, int]] = []
        self.last = after
        self._store = Store.open(url)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader")

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with self._store as store:
            while True:
                ended = self._over.is_set()
                with contextlib.suppress(StoreError):
                    for seq, _ in store.exchanges(after=self.last):
                        if seq != self.last + 1:
                            self.gaps.append((self.last, seq))
                        self.last = seq
                    if ended:
                        return
                self._over.wait(0.1)


def exchange(rng: random.Random, system: str, number: int) -> Exchange:
    """Return an exchange of long ago."""
    text = write(rng, system, number)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return Exchange(
        id=f"old-{list(TASKS).index(system)}-{number}",
        request=json.dumps({"model": "big", "messages": messages}).encode(),
        answer=Answer(answer(system, text)),
        source="teacher",
        model="big",
        teacher="big",
        time=time.time() - OLD_DAYS * 86_400 + number,
        unbiased=True,
        audit_probability=1.0,
    )


def students_of(gateway: Machine) -> dict[str, str]:
    """Return whom a gateway serves, by task."""
    url = f"http://127.0.0.1:{gateway.port}/healthz"
    with urllib.request.urlopen(url, timeout=30) as response:
        found: dict[str, str] = json.load(response)["students"]
    return found
