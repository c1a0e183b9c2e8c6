"""Running the gateway: uvicorn with uvloop and httptools, on a socket bound here."""

import contextlib
import errno
import ipaddress
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator

import uvicorn
from starlette.types import ASGIApp

from openwheel.errors import OpenwheelError, SettingError

_STOP_S = 30
# Longer than clients and load balancers keep idle connections, so that it is they who close.
_KEEP_IDLE_S = 75


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
        """Stop on SIGINT and SIGTERM, as uvicorn does, without raising them again afterwards.

        Whoever called has a store and a capture to close.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_gateway(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    allow_public: bool = False,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """Serve ``app`` until SIGINT or SIGTERM, finish the requests under way, and return.

    Args:
        port: 0 for any free one.
        allow_public: Whether ``host`` may be reachable from other machines. There are no keys
            yet: whoever reaches the gateway can use it, and the teacher's key with it.
        ready: Called with the bound host and port when requests are accepted.

    Raises:
        SettingError: The address is not loopback and ``allow_public`` is not set, cannot be
            bound, or is in use.
    """
    sock = _bind(host, port, allow_public)
    with contextlib.closing(sock):
        address = sock.getsockname()
        server = _Server(_config(app), lambda: ready(address[0], address[1]) if ready else None)
        with _own_errors_in_a_line():
            server.run(sockets=[sock])


@contextlib.contextmanager
def gateway_thread(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve ``app`` on loopback from a thread, for as long as the context lasts.

    Yields:
        The URL, e.g. ``http://127.0.0.1:54321``.

    Raises:
        SettingError: As for `run_gateway`.
    """
    sock = _bind(host, port, allow_public=False)
    with contextlib.closing(sock):
        started = threading.Event()
        server = _Server(_config(app), started.set)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [sock]}, name="openwheel-gateway"
        )
        with _own_errors_in_a_line():
            thread.start()
            try:
                while not started.wait(0.05):
                    if not thread.is_alive():
                        raise SettingError("The gateway could not start; its log says why")
                address = sock.getsockname()
                shown = f"[{address[0]}]" if sock.family == socket.AF_INET6 else address[0]
                yield f"http://{shown}:{address[1]}"
            finally:
                server.should_exit = True
                thread.join()


@contextlib.contextmanager
def _own_errors_in_a_line() -> Iterator[None]:
    """Have uvicorn log Openwheel's own errors as a line.

    A response that must break is broken by raising, which uvicorn takes for a bug and logs with
    its traceback; a teacher that broke off is none.
    """

    def shorten(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, OpenwheelError):
            record.msg, record.args = f"A response was cut short: {error}", ()
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True

    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(shorten)
    try:
        yield
    finally:
        logger.removeFilter(shorten)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="auto" if sys.platform == "win32" else "uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # The teacher's own date and server headers pass as they came.
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_IDLE_S,
        timeout_graceful_shutdown=_STOP_S,
    )


def _bind(host: str, port: int, allow_public: bool) -> socket.socket:
    if not 0 <= port <= 65535:
        raise SettingError(f"The port must be 0 to 65535, but is {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingError(f"The host {host!r} is not an address to listen on: {error}") from None
    family, kind, protocol, _, address = found[0]
    if not allow_public and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise SettingError(
            f"The host must be a loopback address such as 127.0.0.1, but is {host!r}; "
            "to listen publicly must be allowed explicitly, since there are no keys yet"
        )
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingError(f"Port {port} on {host} is already in use") from None
        raise SettingError(f"Cannot listen on {host} port {port}: {error.strerror}") from None
    return sock
