"""Runs the gateway: uvicorn with uvloop and httptools, on a socket bound here."""

import asyncio
import contextlib
import functools
import gc
import logging
import math
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from openwheel.errors import OpenwheelError, SettingError
from openwheel.gateway.asgi import STOPPING
from openwheel.gateway.drain import Drain
from openwheel.gateway.protocol import LimitedProtocol, sweep
from openwheel.gateway.throttled_log import ThrottledLog
from openwheel.settings import GatewaySection
from openwheel.signals import stopping_on_signals
from openwheel.sockets import is_loopback, listen, url_of

if sys.platform != "win32":
    import resource

_DEFAULTS = GatewaySection()
_MALFORMED = "Invalid HTTP request received."


class _Server(uvicorn.Server):
    """Uvicorn's server, with a callback when it is ready and time limits for clients."""

    def __init__(
        self, config: uvicorn.Config, look_every: float, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._look_every = look_every
        self._ready = ready
        self._sweeper: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Requests that only wait would hold up the end.
        stop_waiting = self.lifespan.state.get(STOPPING)
        if stop_waiting is not None:
            stop_waiting()
        await super().shutdown(sockets)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._look_every)
            sweep(self.server_state, stopping=self.should_exit)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal and return, so that the caller can clean up."""
        with stopping_on_signals(self.handle_exit):
            yield


class Server:
    """Serves an app on a listening socket.

    Args:
        sock: Already listening; it stays open.
        settings: The limits of clients, and how long requests under way may take when stopping.
        look_every: Seconds between looks at how long clients have taken.
        ready: Called when requests are accepted.
        drain: Whether the gateway is about to stop.
    """

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        *,
        settings: GatewaySection = _DEFAULTS,
        look_every: float = 1.0,
        ready: Callable[[], None] = lambda: None,
        drain: Drain | None = None,
    ) -> None:
        self._sock = sock
        self._server = _Server(_config(app, settings, drain or Drain()), look_every, ready)

    def run(self) -> None:
        """Serve until told to stop, by `stop`, SIGINT or SIGTERM; finish requests under way."""
        _take_all_descriptors()
        try:
            sock = self._sock.dup()  # uvicorn closes its socket
        except OSError:
            if self._server.should_exit:  # stopped, and its socket closed, before it began
                return
            raise
        with _own_errors_in_a_line():
            self._server.run(sockets=[sock])

    def stop(self) -> None:
        """Stop, from any thread."""
        self._server.should_exit = True


def run_gateway(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    allow_public: bool = False,
    settings: GatewaySection = _DEFAULTS,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve ``app`` in this process until SIGINT or SIGTERM.

    Args:
        host: Address to listen on.
        port: 0 for any free one.
        allow_public: Whether ``host`` may be reachable from other machines: a client that reaches a
            gateway without keys can use it, and the teacher's key with it.
        settings: The limits of clients; host and port are ignored.
        ready: Called with the URL when requests are accepted.

    Raises:
        SettingError: The address is not loopback and ``allow_public`` is not set, cannot be
            bound, or is in use.
    """
    if not allow_public and not is_loopback(host):
        raise SettingError(
            f"The host must be a loopback address such as 127.0.0.1, but is {host!r}; "
            "to listen publicly must be allowed explicitly"
        )
    with contextlib.closing(listen(host, port)) as sock:
        url = url_of(sock)
        spare_collector()
        Server(app, sock, settings=settings, ready=lambda: ready(url) if ready else None).run()


def spare_collector() -> None:
    """Let the garbage collector of a gateway check only objects that requests leave behind.

    Modules and students stay for good. By its defaults it takes a tenth of a request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@contextlib.contextmanager
def gateway_thread(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    settings: GatewaySection = _DEFAULTS,
    look_every: float = 1.0,
) -> Iterator[str]:
    """Serve ``app`` from a thread, for as long as the context lasts.

    Yields:
        The URL, e.g. ``http://127.0.0.1:54321``.

    Raises:
        SettingError: The address cannot be bound, or is in use.
    """
    with contextlib.closing(listen(host, port)) as sock:
        started = threading.Event()
        server = Server(app, sock, settings=settings, look_every=look_every, ready=started.set)
        thread = threading.Thread(target=server.run, name="openwheel-gateway")
        thread.start()
        try:
            while not started.wait(0.05):
                if not thread.is_alive():
                    raise SettingError("The gateway could not start; its log says why")
            yield url_of(sock)
        finally:
            server.stop()
            thread.join()


@contextlib.contextmanager
def _own_errors_in_a_line() -> Iterator[None]:
    """Let uvicorn log Openwheel's own errors as one line, and invalid HTTP once in a while.

    A response is broken off by raising, which uvicorn takes for a bug and logs with its traceback;
    a teacher that broke off is no bug. Anybody can send thousands of invalid requests.
    """

    def shorten(record: logging.LogRecord) -> bool:
        if record.msg == _MALFORMED:
            throttled.warning(_MALFORMED)
            return False
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OpenwheelError):
            record.msg, record.args = f"A response was cut short: {error}", ()
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True

    throttled = ThrottledLog(logging.getLogger(__name__))
    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(shorten)
    try:
        yield
    finally:
        logger.removeFilter(shorten)


def _take_all_descriptors() -> None:
    """Raise the soft limit of open files: every stream takes two, and 1,024 are usual."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS says infinite and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _config(app: ASGIApp, settings: GatewaySection, drain: Drain) -> uvicorn.Config:
    # Uvicorn calls it as it would call a class.
    protocol: Any = functools.partial(LimitedProtocol, limits=settings, refused=set(), drain=drain)
    return uvicorn.Config(
        app,
        loop="auto" if sys.platform == "win32" else "uvloop",
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # The teacher's own date and server headers pass as they came.
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=math.ceil(settings.keep_alive),
        timeout_graceful_shutdown=math.ceil(settings.stop_timeout),
    )
