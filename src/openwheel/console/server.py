"""Serves the console on a socket, until told to stop."""

import contextlib
import socket
from collections.abc import Callable, Generator, Iterator
from threading import Event, Thread

import uvicorn
from starlette.types import ASGIApp

from openwheel.errors import SettingError
from openwheel.signals import stopping_on_signals
from openwheel.sockets import listen, url_of

_STOP_S = 1
"""Open pages are streams without an end; they come back by themselves."""


class ConsoleServer:
    """Serves the console on a listening socket.

    Args:
        app: The console.
        sock: Already listening; it stays open.
        ready: Called when requests are accepted.
    """

    def __init__(
        self, app: ASGIApp, sock: socket.socket, *, ready: Callable[[], None] = lambda: None
    ) -> None:
        self._sock = sock
        config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
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
    """Uvicorn's server, with a callback when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal and return, so that the caller can clean up."""
        with stopping_on_signals(self.handle_exit):
            yield


@contextlib.contextmanager
def console_thread(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve a console from a thread of this process, for as long as the context lasts.

    Yields:
        Its address, e.g. ``http://127.0.0.1:54321``.

    Raises:
        SettingError: It could not start.
    """
    with contextlib.closing(listen("127.0.0.1", port)) as sock:
        started = Event()
        server = ConsoleServer(app, sock, ready=started.set)
        thread = Thread(target=server.run, name="openwheel-console")
        thread.start()
        try:
            while not started.wait(0.05):
                if not thread.is_alive():
                    raise SettingError("The console could not start; its log says why")
            yield url_of(sock)
        finally:
            server.stop()
            thread.join()
