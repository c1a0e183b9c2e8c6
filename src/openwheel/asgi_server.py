"""Serves an ASGI app by uvicorn on a socket that is listening already, until told to stop."""

import contextlib
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp

from openwheel.signals import stopping_on_signals


class AsgiServer:
    """Serves an app on a listening socket. The gateway has a server with limits of its own.

    Args:
        app: The app.
        sock: Already listening; it stays open.
        ready: Called when requests are accepted.
        lifespan: Whether the app wants to know when serving begins and ends.
        stop_timeout: Seconds that requests under way may take when stopping.
    """

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        *,
        ready: Callable[[], None] = lambda: None,
        lifespan: bool = False,
        stop_timeout: int = 5,
    ) -> None:
        self._sock = sock
        config = uvicorn.Config(
            app,
            ws="none",
            lifespan="on" if lifespan else "off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=stop_timeout,
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
        if not self.should_exit:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal, and go on after it: whoever called has things to close."""
        with stopping_on_signals(self.handle_exit):
            yield
