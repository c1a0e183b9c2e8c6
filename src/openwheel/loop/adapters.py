"""Serves students' adapters from an engine."""

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from openwheel.errors import EngineDownError, EngineError
from openwheel.inference import Ask, Writer, Written
from openwheel.students.rung import Served

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "openwheel-"


class AdapterServer(Writer, Protocol):
    """A server of a base model that takes adapters while it runs."""

    def models(self) -> list[str]:
        """Return the names that it serves."""

    def base_fingerprint(self) -> str:
        """Return the hash of what decides the base's answers, ``""`` where there is none."""

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Have an adapter loaded."""

    def unload_adapter(self, name: str) -> None:
        """Have an adapter unloaded."""


class Adapters:
    """Loads adapters into a server, each under a name made from its contents.

    So an adapter is loaded once for the learner that judges a student and for every worker that
    serves it.

    Args:
        server: Returns the server; called when the first adapter is served, and then no more.
        rest: Seconds before a server that could not be reached is asked again, so that one
            request waits for it and not all.
    """

    def __init__(self, server: Callable[[], AdapterServer], *, rest: float = 0.0) -> None:
        self._open = server
        self._rest = rest
        self._rests_until = 0.0
        self._server: AdapterServer | None = None
        self._lock = threading.Lock()

    def serve(self, adapter: Path) -> Served:
        """Load an adapter from its folder; return a writer with it, and its name on the server.

        Raises:
            EngineError: The server cannot be reached, or refuses the adapter.
            OSError: The folder cannot be read.
        """
        name = adapter_name(adapter)
        self._load(name, adapter)
        base = self._connected().base_fingerprint()
        return Served(_Loaded(self, name, adapter, base), name, base)

    def sweep(self, keep: Collection[str]) -> None:
        """Unload all adapters that Openwheel loaded, except those with the names to keep.

        A student that still asks for one has it loaded again. Raises `EngineError`.
        """
        if self._server is None:
            return
        for name in self._server.models():
            if name.startswith(PREFIX) and name not in keep:
                self._server.unload_adapter(name)

    def write(self, asks: Sequence[Ask], name: str, adapter: Path, base: str) -> list[Written]:
        """Write with an adapter, loading it again if the server has lost it.

        Raises:
            EngineError: The server cannot be reached, answers no, or has another base by now.
        """
        server = self._connected()
        if time.monotonic() < self._rests_until:
            raise EngineDownError("The engine could not be reached lately, and is left in peace")
        try:
            return self._write(server, asks, name, adapter, base)
        except EngineDownError:
            self._rests_until = time.monotonic() + self._rest
            raise

    def _write(
        self, server: AdapterServer, asks: Sequence[Ask], name: str, adapter: Path, base: str
    ) -> list[Written]:
        try:
            return server.write(asks)
        except EngineDownError:
            raise
        except EngineError:
            if name in server.models():
                raise
        # A server that has lost an adapter was started again, and may have another base.
        if server.base_fingerprint() != base:
            raise EngineError("The engine serves another base than the student was judged on")
        self._load(name, adapter)
        return server.write(asks)

    def _load(self, name: str, adapter: Path) -> None:
        server = self._connected()
        if name in server.models():
            return
        try:
            server.load_adapter(name, adapter.resolve())
        except EngineError:
            if name not in server.models():  # else another process was faster
                raise

    def _connected(self) -> AdapterServer:
        with self._lock:
            if self._server is None:
                self._server = self._open()
            return self._server


class _Loaded:
    """Writes with one adapter."""

    def __init__(self, adapters: Adapters, name: str, adapter: Path, base: str) -> None:
        self._adapters = adapters
        self._base = base
        self._name = name
        self._adapter = adapter

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """Write an answer to each; see `Writer.write`."""
        return self._adapters.write(asks, self._name, self._adapter, self._base)


def adapter_name(adapter: Path) -> str:
    """Return the name of an adapter: its weights and its settings decide it."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((adapter / name).read_bytes())
    return f"{PREFIX}{digest.hexdigest()[:16]}"
