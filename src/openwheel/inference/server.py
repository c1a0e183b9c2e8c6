"""Serving a model by llama.cpp on a socket, until told to stop."""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

from starlette.applications import Starlette

from openwheel.asgi_server import AsgiServer
from openwheel.errors import OpenwheelError
from openwheel.inference.app import create_front_app
from openwheel.inference.front import Front
from openwheel.sockets import listen, url_of

_STOP_S = 5


class FrontServer:
    """Serves a front on a listening socket.

    Args:
        front: Answers; it is started and stopped here.
        sock: Already listening; it stays open.
        adapters: Adapters to have from the start: folders by name.
        changes: Whether clients may load and unload adapters.
        ready: Called when requests are accepted.
    """

    def __init__(
        self,
        front: Front,
        sock: socket.socket,
        *,
        adapters: Mapping[str, Path] | None = None,
        changes: bool = False,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._front = front
        self._adapters = adapters or {}
        self._failed: OpenwheelError | None = None
        app = create_front_app(front, adapters=changes)
        app.router.lifespan_context = self._lifespan
        self._server = AsgiServer(app, sock, ready=ready, lifespan=True, stop_timeout=_STOP_S)

    def run(self) -> None:
        """Serve until told to stop, by `stop`, SIGINT or SIGTERM.

        Raises:
            OpenwheelError: llama.cpp cannot run the model, or an adapter is none.
        """
        self._server.run()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Stop, from any thread."""
        self._server.stop()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            for name, folder in self._adapters.items():
                self._front.add(name, folder)
            await self._front.start()
        except OpenwheelError as error:
            # Raised, it would be logged with its trace; `run` tells whoever called.
            self._failed = error
            self.stop()
        try:
            yield
        finally:
            await self._front.stop()


@contextlib.contextmanager
def serving(front: Front, adapters: Mapping[str, Path] | None = None) -> Iterator[str]:
    """Serve a front from a thread on a free port of this machine, until the block ends.

    Yields:
        The URL, e.g. ``http://127.0.0.1:54321``.

    Raises:
        OpenwheelError: llama.cpp cannot run the model, or an adapter is none.
    """
    failed: list[OpenwheelError] = []
    begun = threading.Event()

    def run() -> None:
        try:
            server.run()
        except OpenwheelError as error:
            failed.append(error)
        finally:
            begun.set()

    with contextlib.closing(listen("127.0.0.1", 0)) as sock:
        server = FrontServer(front, sock, adapters=adapters, changes=True, ready=begun.set)
        thread = threading.Thread(target=run, name="openwheel-front")
        thread.start()
        try:
            begun.wait()
            if failed:
                raise failed[0]
            yield url_of(sock)
        finally:
            server.stop()
            thread.join()
