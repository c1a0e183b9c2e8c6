"""An engine as a child process, so that a model's memory and libraries are not this one's."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from openwheel.errors import EngineError
from openwheel.inference.remote import RemoteWriter

_STOP_S = 15.0


class Ready(msgspec.Struct, frozen=True):
    """What ``openwheel serve --json`` prints once it answers.

    Attributes:
        url: Where.
        models: The names it serves.
    """

    url: str
    models: list[str]


def engine_environment(threads: int = 0) -> dict[str, str]:
    """Return the environment of an engine's process.

    Threads that wait must not spin: beside a busy process that costs five times the speed.

    Args:
        threads: How many may work on one forward pass; 0 for as many as there are cores.
    """
    count = str(threads or os.cpu_count() or 1)
    caps = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
    return {**os.environ, **caps, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


class EngineProcess:
    """An engine in a child process, for as long as the context lasts.

    Args:
        model: A folder, or an id of the hub.
        adapters: Adapter folders by name.
        revision: The hub's commit.
        precision: See `openwheel.engine.base.load_base`.
        name: What the base is served as; by default ``model``.
        max_batch: The most answers written at a time, 0 for the default.
        context: The most tokens of a prompt with its answer, 0 for the default.
        threads: How many may work on one forward pass; 0 for as many as there are cores.
        timeout: Seconds it may take to load the model.

    Attributes:
        url: Where it answers, once entered.
    """

    def __init__(
        self,
        model: str,
        *,
        adapters: Mapping[str, str | Path] | None = None,
        revision: str = "",
        precision: str = "auto",
        name: str = "",
        max_batch: int = 0,
        context: int = 0,
        threads: int = 0,
        timeout: float = 600.0,
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "openwheel", "serve", model),
            *("--host", "127.0.0.1", "--port", "0", "--json", "--allow-adapters", "--with-parent"),
            *("--precision", precision),
        ]
        options = {"revision": revision, "name": name, "max-batch": max_batch, "context": context}
        for option, value in options.items():
            if value:
                self._command += [f"--{option}", str(value)]
        for one, folder in (adapters or {}).items():
            self._command += ["--adapter", f"{one}={folder}"]
        self._threads = threads
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: list[bytes] = []
        self._reader: threading.Thread | None = None
        self._ready: Ready | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it answers.

        Raises:
            EngineError: It does not run.
        """
        if self._ready is None:
            raise EngineError("The engine has not been started")
        return self._ready.url

    @property
    def models(self) -> list[str]:
        """The names that it served when it was ready.

        Raises:
            EngineError: It does not run.
        """
        if self._ready is None:
            raise EngineError("The engine has not been started")
        return list(self._ready.models)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def writer(self, *, timeout: float = 600.0) -> RemoteWriter:
        """Return a writer that asks it; whoever asked for it closes it."""
        return RemoteWriter(self.url, timeout=timeout)

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            EngineError: It ended, or took too long; the message has what it said last.
        """
        self._errors.clear()
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,  # it ends when this end closes, however this process goes
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=engine_environment(self._threads),
        )
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self._reader = threading.Thread(
            target=self._read_errors, args=(process.stderr,), name="openwheel-engine-log"
        )
        self._reader.start()
        late = threading.Timer(self._timeout, process.kill)
        late.start()
        try:
            line = process.stdout.readline()
        finally:
            late.cancel()
        try:
            self._ready = msgspec.json.decode(line, type=Ready)
        except msgspec.DecodeError:
            code = process.poll()
            self.stop()
            said = self._last_words() or f"it ended with code {code}"
            raise EngineError(f"The engine could not be started: {said}") from None

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        self._process = None
        self._ready = None

    def _read_errors(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._errors.append(line)
            del self._errors[:-50]

    def _last_words(self) -> str:
        lines = [line.decode("utf-8", errors="replace").strip() for line in self._errors]
        own = [line for line in lines if line.startswith("openwheel: ")]
        return (own or [line for line in lines if line] or [""])[-1].removeprefix("openwheel: ")
