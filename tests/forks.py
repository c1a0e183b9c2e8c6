"""Scripts as processes of their own, forked from one that has imported what they import.

Starting Python and importing takes most of a second each, more than any of these scripts. They are
not forked from the process of the tests, which may have threads, and stores that are open.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.reduction import DupFd
from typing import Any

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["forks", "openwheel.access", "openwheel.gateway.snapshots"])


class Fork:
    """A script that runs; as much of `subprocess.Popen` as tests ask for."""

    def __init__(self, script: str, *arguments: object) -> None:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self.stdin, self.stdout = os.fdopen(ours_in, "w"), os.fdopen(ours_out)
        ends = contextlib.ExitStack()
        for end in (theirs_in, theirs_out):
            ends.callback(os.close, end)
        with ends:
            texts = [str(argument) for argument in arguments]
            self._process = _PROCESSES.Process(
                target=_run, args=(script, texts, LateFd(theirs_in), LateFd(theirs_out))
            )
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        self._process.join(timeout)
        assert self.returncode is not None, "it does not end"
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def rest(self) -> str:
        """Wait until it ends, and return what it wrote and nobody has read."""
        self.stdin.close()
        written = self.stdout.read()
        self.wait()
        return written


class LateFd:
    """A file descriptor that is handed over when a process starts, which is when it is pickled."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _taken, (DupFd(self._number),)


def _taken(handed: Any) -> int:
    number: int = handed.detach()
    return number


def _run(script: str, arguments: list[str], stdin: int, stdout: int) -> None:
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.close(stdin)
    os.close(stdout)
    sys.argv = ["-c", *arguments]
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    exec(script, {"__name__": "__main__"})
    sys.stdout.flush()


@contextlib.contextmanager
def forks() -> Iterator[type[Fork]]:
    """Give what starts a script; kill what still runs at the end."""
    started = []

    def start(script: str, *arguments: object) -> Fork:
        started.append(Fork(script, *arguments))
        return started[-1]

    try:
        yield start
    finally:
        for fork in started:
            fork.kill()
            fork.wait()
            with contextlib.suppress(BrokenPipeError):
                fork.stdin.close()
            fork.stdout.close()
