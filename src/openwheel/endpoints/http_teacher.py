"""A teacher behind HTTP: any endpoint that speaks the OpenAI API.

Bodies pass as they are in both directions. There are no retries: the client's SDK retries, and a
second layer of them would multiply.
"""

import functools
import io
import os
import re
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from openwheel.endpoints.teacher import Headers, TeacherResponse, TeacherTimeoutError
from openwheel.errors import SettingError, TeacherError

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
# RFC 9110, section 5.5; aiohttp lets them in, servers do not let them out.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# Between a client and its own gateway, also where one gateway is the teacher of another.
_OWN_HEADERS = b"x-openwheel-"
_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"cookie"})
_NO_AUTO_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
# aiohttp warns that it would write larger bytes in one go; from a BytesIO it writes in pieces.
_LARGEST_IN_ONE_GO = 1 << 20
# Uvicorn, and so vLLM and SGLang, close idle connections after 5 s; a request sent into such a
# close is lost, and a POST is not safe to send again.
_KEEP_IDLE_S = 4.0


class HttpTeacher:
    """An OpenAI-compatible endpoint.

    Args:
        base_url: As one would give it to an OpenAI client, e.g. ``http://localhost:8000/v1``; a
            URL without a path stands for its ``/v1``.
        key_env: Name of the environment variable that holds the teacher's key. It then replaces
            whatever credentials clients send; without it theirs are passed on.
        connect_timeout: Seconds to get a connection.
        read_timeout: Seconds without a byte from the teacher; long, since a reasoning model may
            think for minutes before its first.

    Raises:
        SettingError: The URL is not one, or carries a password; the variable is not set.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key_env: str | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 600.0,
    ) -> None:
        self._base, self.host = _read_base_url(base_url)
        self._authorization = _read_key(key_env) if key_env else None
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=read_timeout
        )
        self._session: aiohttp.ClientSession | None = None
        self._url = functools.lru_cache(maxsize=256)(self._make_url)

    def __repr__(self) -> str:
        return f"HttpTeacher({self._base!r})"

    async def open(self) -> None:
        """Make the pool of connections, without connecting."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEP_IDLE_S, ttl_dns_cache=60
            ),
            # A cookie the teacher sets for one client must not be sent for another.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
            skip_auto_headers=_NO_AUTO_HEADERS,
            max_line_size=1 << 16,
            max_field_size=1 << 16,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> TeacherResponse:
        """Send one request; see `Teacher.send`."""
        if self._session is None:
            raise AssertionError("HttpTeacher.send was called before open")
        data = io.BytesIO(body) if len(body) > _LARGEST_IN_ONE_GO else body or None
        try:
            response = await self._session.request(
                method,
                self._url(path),
                headers=self._request_headers(headers),
                data=data,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise self._error(error) from None
        if not 200 <= response.status <= 599:
            response.close()
            raise TeacherError(f"The teacher at {self.host} answered with status {response.status}")
        if _CONTROL.search(b"".join([value for _, value in response.raw_headers])):
            response.close()
            raise TeacherError(
                f"The teacher at {self.host} sent a header with a control character, "
                "which cannot be passed on"
            )
        passed, delimited = _end_to_end(response.raw_headers)
        return TeacherResponse(
            status=response.status,
            headers=passed,
            chunks=_Chunks(self, response.content),
            close=response.close,
            delimited=delimited or response.status in {204, 304} or method == "HEAD",
        )

    def _make_url(self, path: str) -> URL:
        return URL(self._base + path.removeprefix("/v1"), encoded=True)

    def _request_headers(self, headers: Headers) -> list[tuple[str, str]]:
        listed = _named_by_connection(headers)
        sent = [("Accept-Encoding", "identity")]
        for name, value in headers:
            if name in _HOP_BY_HOP or name in _WRITTEN_ANEW or name in listed:
                continue
            if self._authorization is not None and name in _CREDENTIALS:
                continue
            if name.startswith(_OWN_HEADERS):
                continue
            sent.append((name.decode("latin-1"), _text(value)))
        if self._authorization is not None:
            sent.append(("Authorization", self._authorization))
        return sent

    def _error(self, error: BaseException) -> TeacherError:
        """Say what went wrong in words that can hold neither key nor URL."""
        if isinstance(error, TimeoutError):
            return TeacherTimeoutError(f"The teacher at {self.host} did not answer in time")
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = error.os_error.strerror or type(error.os_error).__name__
            return TeacherError(f"The teacher at {self.host} could not be reached: {reason}")
        return TeacherError(f"The teacher at {self.host} broke off ({type(error).__name__})")


class _Chunks:
    """The body as it arrives; a class, since a generator left half-way would linger."""

    def __init__(self, teacher: HttpTeacher, content: aiohttp.StreamReader) -> None:
        self._teacher = teacher
        self._content = content

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise self._teacher._error(error) from None
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _end_to_end(headers: Headers) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the headers to pass on, and whether they tell where the body ends."""
    lowered = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in lowered}
    dropped = _HOP_BY_HOP | _named_by_connection(lowered)
    if b"transfer-encoding" in names:
        # RFC 9112, section 6.3: it overrides content-length.
        dropped |= {b"content-length"}
    delimited = b"transfer-encoding" in names or b"content-length" in names
    passed = [
        pair for pair in lowered if pair[0] not in dropped and not pair[0].startswith(_OWN_HEADERS)
    ]
    return passed, delimited


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Return the headers that a Connection header declares to concern one connection only."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            return frozenset(part.strip().lower() for part in value.split(b","))
    return frozenset()


def _text(value: bytes) -> str:
    """Decode a header value so that aiohttp, which writes UTF-8, writes the same bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _read_base_url(base_url: str) -> tuple[str, str]:
    """Return the URL that stands for ``/v1``, and the host for messages."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingError(f"The teacher's URL is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingError(
            f"The teacher's URL must look like http://host:port/v1, but is {_shown(base_url)!r}"
        )
    if parts.username is not None or parts.password is not None:
        raise SettingError(
            "The teacher's URL holds credentials; put the key in an environment variable instead"
        )
    if parts.query or parts.fragment:
        raise SettingError(
            f"The teacher's URL must end with its path, but has a query or fragment: host {host}"
        )
    shown = f"[{host}]" if ":" in host else host
    netloc = f"{shown}:{port}" if port else shown
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{netloc}{path}", netloc


def _shown(base_url: str) -> str:
    """Return the URL without anything before an ``@``, which may be a password."""
    return base_url.rpartition("@")[2]


def _read_key(key_env: str) -> str:
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise SettingError(
            f"The teacher's key must be in the environment variable {key_env}, which is not set"
        )
    if not key.isascii() or not key.isprintable():
        raise SettingError(f"The key in {key_env} must be printable ASCII, and is not")
    return f"Bearer {key}"
