"""Machines of a fleet: each a folder with a home and a cache of its own, and one process.

A machine starts its process again when it ends, as an operating system's supervisor does. To kill a
machine is to kill the process and all that it started, with -9 and at once.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

from processes.conftest import poll

REST_S = 0.3
"""From the end of a process to its next start."""

STOPPED_S = 60.0


class Machine:
    """A machine that runs a command of ``openwheel`` for as long as the block lasts.

    Args:
        folder: Made here, for all that is on the machine.
        url: The store.
        arguments: The command and its arguments.
        settings: Its ``openwheel.toml``.

    Attributes:
        name: Of the machine.
        port: Where a gateway listens; the same from its first start on.
        processes: Ids of the processes that the command was started as.
        away: From when to when it could not answer, on the monotonic clock.
        code: With which it ended once it was stopped.
    """

    def __init__(self, folder: Path, url: str, arguments: tuple[str, ...], settings: str) -> None:
        self.name = folder.name
        self.port = 0
        self.processes: list[int] = []
        self.away: list[tuple[float, float]] = []
        self.code: int | None = None
        self._folder, self._url, self._arguments, self._settings = folder, url, arguments, settings
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=self.name)

    def __enter__(self) -> Self:
        self._folder.mkdir()
        (self._folder / "openwheel.toml").write_text(self._settings)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._over.set()
            self.kill()
            self._thread.join()

    @property
    def log(self) -> str:
        """What its processes have printed, all of them."""
        return (self._folder / "log").read_text()

    @property
    def is_up(self) -> bool:
        """Whether a gateway accepts requests."""
        return not self.away or self.away[-1][1] < float("inf")

    def stop(self) -> None:
        """Stop it as a person does, and do not start it again."""
        self._over.set()
        self._signal(signal.SIGTERM)
        self._thread.join(STOPPED_S)
        assert not self._thread.is_alive(), self.log

    def kill(self) -> None:
        """Kill what runs on it."""
        self._killed = time.monotonic()
        self._signal(signal.SIGKILL)

    def kill_worker(self) -> None:
        """Kill the process that answers requests; what watches it starts another."""
        began = time.monotonic()
        with contextlib.suppress(OSError):
            worker = self._child("worker")
            os.kill(worker, signal.SIGKILL)
            # Its connections end with the last of its threads: then it is no longer listed.
            poll(lambda: not Path(f"/proc/{worker}").exists())
        self.away.insert(0, (began, time.monotonic()))

    def freeze(self) -> None:
        """Let nothing on it go on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def runs(self, holder: str) -> bool:
        """Return whether a holder of a lease is a process of this machine."""
        return int(holder.split(":")[1]) in self.processes

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _child(self, module: str) -> int:
        pid = self.processes[-1]
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if f"processes.{module}".encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        raise ProcessLookupError(f"{self.name} has no {module}")

    def _keep(self) -> None:
        self.away.append((0.0, float("inf")))
        while not self._over.is_set():
            with (self._folder / "log").open("ab") as log:
                self._process = self._start(log.fileno())
                self.processes.append(self._process.pid)
                assert self._process.stdout is not None
                for line in self._process.stdout:
                    if found := re.search(rb"listens on http://127.0.0.1:(\d+)", line):
                        self.port = int(found[1])
                        self.away[-1] = (self.away[-1][0], time.monotonic())
                self._process.stdout.close()
                self.code = self._process.wait()
            if self.is_up:
                self.away.append((self._killed, float("inf")))
            self._over.wait(REST_S)

    def _start(self, log: int) -> subprocess.Popen[bytes]:
        port = ("--port", str(self.port)) if self._arguments[0] == "up" else ()
        command = [sys.executable, "-m", "openwheel", *self._arguments, *port, "--db", self._url]
        own = {"HOME": str(self._folder), "XDG_CACHE_HOME": str(self._folder / "cache")}
        return subprocess.Popen(
            command,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **own, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
