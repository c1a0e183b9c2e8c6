"""Keeps a child process running: starts it, starts it again when it ends, stops it."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time

import msgspec

from openwheel.job import thread_caps
from openwheel.processes.order import DRAIN, EVENTS, Order, Ready, encode_order

logger = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_LIVED_S = 10.0


class Child:
    """A process that is kept running.

    Args:
        module: The module it runs.
        order: Its order.
        name: For messages.
        threads: How many threads its libraries may use at once. One request needs one; more would
            wait for each other.

    Attributes:
        ready: Set once it has reported that it is ready.
        wrong: The error in its settings that it reported.
    """

    def __init__(self, module: str, order: Order, name: str, *, threads: int = 1) -> None:
        self.name = name
        self._threads = threads
        self._module = module
        self._order = order
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self.ready = asyncio.Event()
        self.wrong = ""

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def keep(self) -> None:
        """Run it; start it again when it ends, until `stop`, or if its settings are wrong."""
        wait = _FIRST_WAIT_S
        while True:
            started = time.monotonic()
            try:
                code = await self._run()
                ended = f"ended with code {code}"
            except OSError as error:  # no memory or no process left, or Python was moved away
                code, ended = None, f"could not be started: {error}"
            if self._stopping.is_set():
                return
            if code == 2 and not self.ready.is_set():
                return  # it reported an error in its settings, and would report it again
            if self.wrong:
                ended += f" ({self.wrong})"
            if time.monotonic() - started > _LIVED_S:
                wait = _FIRST_WAIT_S
            logger.error("%s %s; it starts again in %.1f s", self.name, ended, wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
                return
            wait = min(2 * wait, _LONGEST_WAIT_S)

    async def _run(self) -> int:
        self.wrong = ""
        descriptor = self._order.descriptor
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=() if descriptor < 0 else (descriptor,),
            env={**thread_caps(self._threads), **os.environ},
        )
        self._process = process
        if self._stopping.is_set():  # stopped while it started
            process.terminate()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(encode_order(self._order))
            await process.stdin.drain()
        while line := await process.stdout.readline():
            try:
                event = EVENTS.decode(line)
            except msgspec.DecodeError:  # output of a library
                continue
            if isinstance(event, Ready):
                self.ready.set()
            else:
                self.wrong = " ".join(event.message.split())
        return await process.wait()

    def drain(self) -> None:
        """Have it want no more requests."""
        self._signal(DRAIN)

    def stop(self) -> None:
        """Ask it to end, and do not start it again."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
