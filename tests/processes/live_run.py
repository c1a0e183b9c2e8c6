"""A gateway of several workers under load, and what may be done to it."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from processes.conftest import Gateway, poll
from processes.live_load import Asked, LiveLoad
from processes.live_store import Peek
from teacher import TeacherProcess

PATIENCE_S = 300.0
"""For what is only waited for; a machine may be slow, and be busy with other things."""

MOST_IN_A_ROW = 3

_UNREACHED = {0, 502, 503, 504}


class Run:
    """A gateway under load.

    Attributes:
        peek: Reads its store.
        attempts: The most attempts seen on each task.
        forgotten: Tasks whose attempts were once seen to be fewer than before.
        processes: Ids of all processes it was seen to have.
    """

    def __init__(
        self, gateway: Gateway, teacher: TeacherProcess, load: LiveLoad, seed: int
    ) -> None:
        self._workers = len(gateway.children())
        self.peek = Peek(gateway.folder / "openwheel.db")
        self.attempts: dict[str, int] = {}
        self.forgotten: set[str] = set()
        self.processes: set[int] = set()
        self._gateway, self._teacher, self._load = gateway, teacher, load
        self._rng = random.Random(seed)
        self._longest, self._dead = 3.0, 0
        self._away: list[tuple[float, float]] = []
        self._killed: tuple[float, float, set[int]] = (0.0, 0.0, set())

    def until(self, done: Callable[[], object]) -> object:
        """Wait until that is true, and return it; meanwhile see that no attempt is forgotten."""

        def look() -> object:
            self.processes.update(self._gateway.children(), self._gateway.children("learner"))
            for name, number in self.peek.attempts().items():
                if number < self.attempts.get(name, 0):
                    self.forgotten.add(name)
                self.attempts[name] = number
            return done()

        return poll(look, seconds=PATIENCE_S)

    def kill_turn(self) -> None:
        """Kill the learner with a turn under way, at a random moment of it.

        The moment is one of all orders of magnitude, up to what the longest turn took: much happens
        at the beginning. A turn at a task, or at none, at which several died in a row is left
        alone, since each makes the wait for the next try twice as long.
        """
        while True:
            turn = self.until(self._under_way)
            began = time.monotonic()
            moment = began + self._longest * 0.02 ** self._rng.random()
            while self._under_way() == turn and time.monotonic() < moment:
                time.sleep(0.01)
            self._longest = max(self._longest, 1.2 * (time.monotonic() - began))
            learners = self._gateway.children("learner")
            if learners and self._under_way() == turn and self._died_there() < MOST_IN_A_ROW:
                os.kill(learners[0], signal.SIGKILL)
                self.until(lambda pid=learners[0]: not self._gateway.is_alive(pid))
                if self._under_way() == turn:
                    self._dead = turn
                    return

    def _under_way(self) -> int:
        """Return the turn that is under way, 0 if none is."""
        turn = self.peek.one(
            "SELECT max(token) FROM leases WHERE name = 'finding tasks'"
            " AND EXISTS (SELECT 1 FROM leases WHERE holder <> '')"
        )
        return turn if turn > self._dead else 0

    def _died_there(self) -> int:
        """Return how many turns died in a row where the one under way is."""
        return self.peek.one(
            "SELECT count(*) FROM turn_starts WHERE noticed IS NOT NULL AND task_id IS"
            " (SELECT nullif(replace(name, 'task ', ''), 'finding tasks') FROM leases"
            " WHERE holder <> '')"
        )

    def kill_worker(self) -> None:
        """Kill a worker, which stands still while its connections are listed."""
        workers = self._gateway.children()
        victim = max(workers, key=lambda pid: len(self._gateway.ports_of(pid)))
        os.kill(victim, signal.SIGSTOP)
        began, ports = time.monotonic(), self._gateway.ports_of(victim)
        os.kill(victim, signal.SIGKILL)
        self.until(lambda: len(set(self._gateway.children()) - {victim}) == self._workers)
        self._killed = (began, time.monotonic(), ports)

    def kill_teacher(self) -> None:
        """Kill the teacher."""
        self._away.append((time.monotonic(), float("inf")))
        self._teacher.kill()

    def start_teacher(self, *changed: str) -> None:
        """Start it again; of the tasks named it thinks otherwise now."""
        self._teacher.start(*changed)
        self._away[-1] = (self._away[-1][0], time.monotonic())

    def reload(self) -> None:
        """Have the settings read again: all workers and the learner are replaced.

        A learner that died again and again is kept from its next start for up to ten seconds; a
        new one is not.
        """
        said = "The settings were read again"
        before = self._gateway.log.count(said)
        self._gateway.process.send_signal(signal.SIGHUP)
        self.until(lambda: self._gateway.log.count(said) > before)

    def openwheel(self, *arguments: str) -> str:
        """Run a command on the store."""
        command = [sys.executable, "-m", "openwheel", *arguments]
        folder = self._gateway.folder
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout

    def until_all_workers_know(self, change: Callable[[], object]) -> tuple[float, ...]:
        """Wait until each worker promotes what the store says; return when each did.

        Args:
            change: What is to become known; the seconds are counted from its end.
        """
        with contextlib.ExitStack() as stack:
            views = self._views(stack)
            change()
            began = time.monotonic()
            took: dict[int, float] = {}

            def agree() -> bool:
                for pid, view in views.items():
                    if _students(view) == self.peek.promoted():
                        took.setdefault(pid, time.monotonic() - began)
                    else:
                        took.pop(pid, None)
                return len(took) == len(views)

            self.until(agree)
            return tuple(took.values())

    def _views(self, stack: contextlib.ExitStack) -> dict[int, http.client.HTTPConnection]:
        """Return a connection to each worker, by its process id."""
        workers = self._gateway.children()
        found: dict[int, http.client.HTTPConnection] = {}

        def find() -> bool:
            view = http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=60)
            stack.enter_context(contextlib.closing(view))
            _students(view)
            port = view.sock.getsockname()[1]
            for pid in workers:
                if pid not in found and port in self._gateway.ports_of(pid):
                    found[pid] = view
            return len(found) == len(workers) == self._workers

        self.until(find)
        return found

    def is_excused(self, one: Asked) -> bool:
        """Whether a request may have failed: there was no teacher, or its worker was killed."""
        if one.status in _UNREACHED and any(
            one.sent <= until and one.over >= since for since, until in self._away
        ):
            return True
        since, until, ports = self._killed
        mine = one.port in ports or not one.port
        return one.status == 0 and mine and one.sent <= until and one.over >= since


def _students(view: http.client.HTTPConnection) -> dict[str, str]:
    """Return whom a worker has promoted, by task."""
    view.request("GET", "/healthz")
    found: dict[str, str] = json.loads(view.getresponse().read())["students"]
    return found
