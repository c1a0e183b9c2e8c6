"""Chooses the headers that pass between a client and a teacher."""

import re
from collections.abc import Iterable

from openwheel.teachers.teacher import Headers

# RFC 9110, section 7.6.1, and "proxy-connection", which old clients send.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Written anew for the connection to the teacher. Content coding is settled together with the
# hop-by-hop headers: the teacher is asked for none, so that stream chunks are not held back in a
# compressor; should it code its answer all the same, bytes and header pass untouched.
_WRITTEN_ANEW = frozenset({b"host", b"content-length", b"expect", b"accept-encoding"})
_NEVER_TO_TEACHER = _HOP_BY_HOP | _WRITTEN_ANEW
# RFC 9110, section 5.5; HTTP clients let them in, servers do not let them out.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_PATH = re.compile(rb"[^\x21-\x7e]")
# Between a client and its own gateway, also where one gateway is the teacher of another.
_OWN_HEADERS = b"x-openwheel-"
_BODILESS = frozenset({204, 304})
_FRAMES = frozenset({b"transfer-encoding", b"content-length"})
_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie"})


def passed_to_teacher(headers: Headers, *, credentials: bool) -> list[tuple[bytes, bytes]]:
    """Return the client's headers that go to the teacher, its credentials only if asked for."""
    dropped = _NEVER_TO_TEACHER if credentials else _NEVER_TO_TEACHER | _CREDENTIALS
    if listed := _named_by_connection(headers):
        dropped |= listed
    return [
        pair for pair in headers if pair[0] not in dropped and not pair[0].startswith(_OWN_HEADERS)
    ]


def without_credentials(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers without those that identify the client."""
    return [pair for pair in headers if pair[0] not in _CREDENTIALS]


def passed_to_client(headers: Headers, status: int) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the teacher's headers to pass on, and whether they give the body's length."""
    lowered = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in lowered}
    dropped = _HOP_BY_HOP | _named_by_connection(lowered)
    # RFC 9112, section 6.3, and RFC 9110, section 8.6: transfer-encoding overrides it, a 204 has
    # none, and with a 304 it is the length of what is not sent.
    if b"transfer-encoding" in names or status in _BODILESS:
        dropped |= {b"content-length"}
    delimited = status in _BODILESS or not names.isdisjoint(_FRAMES)
    passed = [
        pair for pair in lowered if pair[0] not in dropped and not pair[0].startswith(_OWN_HEADERS)
    ]
    return passed, delimited


def has_control(values: Iterable[bytes]) -> bool:
    """Return whether a header's value holds a character that none may hold."""
    return _CONTROL.search(b"".join(values)) is not None


def as_path(path: str) -> bytes:
    """Return a path for a request line, with unsafe and non-ASCII characters percent-encoded."""
    return _NOT_IN_PATH.sub(lambda match: b"%%%02X" % match[0][0], path.encode())


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Return the headers that a Connection header declares to concern one connection only."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            return frozenset(part.strip().lower() for part in value.split(b","))
    return frozenset()
