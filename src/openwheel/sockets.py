"""The socket that a gateway listens on, and the address it has."""

import errno
import ipaddress
import socket
from typing import Any

from openwheel.errors import SettingError


def is_loopback(host: str) -> bool:
    """Return whether an address that a client connects to stays on this machine.

    Raises:
        SettingError: The host is not an address.
    """
    return ipaddress.ip_address(str(_resolve(host, 0)[2][0]).partition("%")[0]).is_loopback


def listen(host: str, port: int, *, backlog: int = 2048) -> socket.socket:
    """Return a listening socket.

    Args:
        port: 0 for any free one.
        backlog: Connections that may wait to be accepted.

    Raises:
        SettingError: The address cannot be listened on, or is in use.
    """
    if not 0 <= port <= 65535:
        raise SettingError(f"The port must be 0 to 65535, but is {port}")
    family, kind, address = _resolve(host, port)
    sock = socket.socket(family, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingError(f"Port {port} on {host} is already in use") from None
        raise SettingError(f"Cannot listen on {host} port {port}: {error.strerror}") from None
    return sock


def url_of(sock: socket.socket) -> str:
    """Return where a client reaches a socket, e.g. ``http://127.0.0.1:8000``."""
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if sock.family == socket.AF_INET6 else host
    return f"http://{shown}:{port}"


def _resolve(host: str, port: int) -> tuple[int, int, tuple[Any, ...]]:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingError(f"The host {host!r} is not an address to listen on: {error}") from None
    family, kind, _, _, address = addresses[0]
    return family, kind, address
