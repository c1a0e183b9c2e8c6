"""Learners in processes of their own that halt at a chosen write: frozen, or killed.

Processes are forked from one that has loaded all libraries. Each takes a turn on a store in
Postgres, and halts right before, within or right after a write under a lease.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

Moment = Literal["before", "within", "after"]

# Each line of its input is a turn to take; it answers how the process that took it stands. After
# "stopped" a further line has that process go on.
FORKING = """
import contextlib, json, os, signal, sys, threading, time

from openwheel.loop.leases import SharedLeases
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Store
from openwheel.students import train

train("linear", [(f"{i % 2} a{i}",) for i in range(80)], ["x", "y"] * 40, variables=(0,))


def child(order):
    os.environ["XDG_CACHE_HOME"] = order["cache"]
    real, ahead = time.time, order["ahead"]
    time.time = lambda: real() + ahead
    plain, writes = Store.write, 0

    @contextlib.contextmanager
    def write(self, **options):
        nonlocal writes
        under_lease = "check" in self._check.__name__
        writes += under_lease
        here = under_lease and writes == order["number"]

        def halt(moment):
            if here and moment == order["moment"]:
                os.kill(os.getpid(), order["signal"])

        halt("before")
        with plain(self, **options) as transaction:
            yield transaction
            halt("within")
        halt("after")

    Store.write = write
    with Store.open(order["url"]) as store:
        leases = SharedLeases(store, seconds=order["seconds"], holder=f"child:{os.getpid()}")
        turn(store, LoopSettings(rungs=("linear",)), leases=leases)


def tell(pid):
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        print("stopped", flush=True)
        sys.stdin.readline()
        os.kill(pid, signal.SIGCONT)
        tell(pid)
    else:
        print("killed" if os.WIFSIGNALED(status) else f"ended {os.WEXITSTATUS(status)}", flush=True)


for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if not pid:
        try:
            child(order)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    tell(pid)
"""


class Halting:
    """Has other processes take turns, one at a time."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def take(
        self,
        url: str,
        *,
        number: int,
        seconds: float,
        moment: Moment = "before",
        by: signal.Signals = signal.SIGSTOP,
        ahead: float = 0.0,
    ) -> str:
        """Take a turn; return how its process stands: ``stopped``, ``killed`` or ``ended CODE``.

        Args:
            url: The store.
            number: The write under a lease at which it halts, from 1; others do not count.
            seconds: How long its leases last unless they are renewed.
            moment: When it halts.
            by: The signal that halts it.
            ahead: By how many seconds its clock on the wall is ahead of the true time.
        """
        order = {
            "url": url,
            "cache": str(self._cache),
            "number": number,
            "seconds": seconds,
            "moment": moment,
            "signal": int(by),
            "ahead": ahead,
        }
        return self._ask(json.dumps(order))

    def go_on(self) -> str:
        """Have the process that is stopped go on to its end; return how it ended."""
        return self._ask("")

    def close(self) -> None:
        """End."""
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(20) == 0

    def _ask(self, line: str) -> str:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()
