"""Serving an engine's HTTP API on a socket, in this process or in a thread of it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Iterator

import uvicorn

from openwheel.engine.app import create_engine_app
from openwheel.engine.engine import Engine
from openwheel.signals import stopping_on_signals
from openwheel.sockets import listen, url_of

_STOP_S = 5


class EngineServer:
    """Serves an engine on a listening socket.

    Args:
        engine: Answers.
        sock: Already listening; it stays open.
        adapters: Whether clients may load and unload adapters.
        ready: Called when requests are accepted.
    """

    def __init__(
        self,
        engine: Engine,
        sock: socket.socket,
        *,
        adapters: bool = False,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._sock = sock
        config = uvicorn.Config(
            create_engine_app(engine, adapters=adapters),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_STOP_S,
        )
        self._server = _Server(config, ready)

    def run(self) -> None:
        """Serve until told to stop, by `stop`, SIGINT or SIGTERM."""
        self._server.run(sockets=[self._sock.dup()])

    def stop(self) -> None:
        """Stop, from any thread."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal, and go on after it: whoever called has things to close."""
        with stopping_on_signals(self.handle_exit):
            yield


@contextlib.contextmanager
def engine_thread(engine: Engine, *, adapters: bool = False) -> Iterator[str]:
    """Serve an engine from a thread on a free port, for as long as the context lasts.

    Yields:
        The URL, e.g. ``http://127.0.0.1:54321``.
    """
    with contextlib.closing(listen("127.0.0.1", 0)) as sock:
        started = threading.Event()
        server = EngineServer(engine, sock, adapters=adapters, ready=started.set)
        thread = threading.Thread(target=server.run, name="openwheel-engine-http")
        thread.start()
        try:
            started.wait()
            yield url_of(sock)
        finally:
            server.stop()
            thread.join()
