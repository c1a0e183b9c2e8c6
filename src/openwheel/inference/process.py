"""A server of a model as a child process: `openwheel serve`, for as long as it is needed."""

import subprocess
import sys
import threading
from collections import deque
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


class ServerProcess:
    """A server in a child process, for as long as the context lasts.

    Args:
        model: A GGUF file, a folder, or an id of the hub.
        adapters: Adapter folders by name.
        revision: The hub's commit.
        precision: In which a GGUF file is made of a folder.
        name: What the base is served as; by default ``model``.
        slots: The most answers written at a time, 0 for the default.
        context: The most tokens of a prompt with its answer, 0 for the default.
        threads: How many compute; 0 for as many as there are cores.
        timeout: Seconds it may take to load the model.
    """

    def __init__(
        self,
        model: str,
        *,
        adapters: Mapping[str, str | Path] | None = None,
        revision: str = "",
        precision: str = "",
        name: str = "",
        slots: int = 0,
        context: int = 0,
        threads: int = 0,
        timeout: float = 600.0,
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "openwheel", "serve", model),
            *("--host", "127.0.0.1", "--port", "0", "--json", "--allow-adapters", "--with-parent"),
        ]
        options = {
            "revision": revision,
            "precision": precision,
            "name": name,
            "slots": slots,
            "context": context,
            "threads": threads,
        }
        for option, value in options.items():
            if value:
                self._command += [f"--{option}", str(value)]
        for one, folder in (adapters or {}).items():
            self._command += ["--adapter", f"{one}={folder}"]
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: deque[bytes] = deque(maxlen=50)
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
    def ready(self) -> Ready:
        """Where it answers, and what it served when it was ready.

        Raises:
            EngineError: It does not run.
        """
        if self._ready is None:
            raise EngineError("The server of models has not been started")
        return self._ready

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def writer(self, *, timeout: float = 600.0) -> RemoteWriter:
        """Return a writer that asks it; whoever asked for it closes it."""
        return RemoteWriter(self.ready.url, dialect="llama.cpp", timeout=timeout)

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
        )
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self._reader = threading.Thread(
            target=self._read_errors, args=(process.stderr,), name="openwheel-server-log"
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
            raise EngineError(f"The model cannot be served: {said}") from None

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

    def _last_words(self) -> str:
        lines = [line.decode("utf-8", errors="replace").strip() for line in self._errors]
        own = [line for line in lines if line.startswith("openwheel: ")]
        return (own or [line for line in lines if line] or [""])[-1].removeprefix("openwheel: ")
