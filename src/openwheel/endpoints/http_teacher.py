"""A teacher behind HTTP: any endpoint that speaks the OpenAI API, or Anthropic's.

Bodies pass as they are in both directions. There are no retries here; see `TeacherPool`.
"""

import asyncio
import functools
import io
import os
from typing import Self

import aiohttp
from yarl import URL

from openwheel.endpoints.address import read_base_url, read_key
from openwheel.endpoints.headers import has_control, passed_to_client, passed_to_teacher
from openwheel.endpoints.model_list import read_model_list
from openwheel.endpoints.teacher import (
    ApiFamily,
    Headers,
    TeacherConnectTimeoutError,
    TeacherResponse,
    TeacherTimeoutError,
)
from openwheel.errors import TeacherError

_NO_AUTO_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
# aiohttp warns that it would write larger bytes in one go; from a BytesIO it writes in pieces.
_LARGEST_IN_ONE_GO = 1 << 20
# Uvicorn, and so vLLM and SGLang, close idle connections after 5 s; a request sent into such a
# close is lost, and a POST is not safe to send again.
_KEEP_IDLE_S = 4.0
_ANTHROPIC_VERSION = "2023-06-01"
_PROBE_S = 15.0


class HttpTeacher:
    """An endpoint that speaks the OpenAI API or Anthropic's.

    Connections are made on the event loop that is running when the first request is sent, and
    belong to it until `close`.

    Args:
        base_url: As one would give it to a client of the API: ``http://localhost:8000/v1`` for
            OpenAI's, ``https://api.anthropic.com`` for Anthropic's. A URL without a path stands
            for its ``/v1``.
        name: What responses, counts and messages call it; the host if left out.
        api: The API it speaks. It decides how the key is sent: ``Authorization: Bearer`` or
            ``x-api-key``.
        key_env: Name of the environment variable that holds the teacher's key. It then replaces
            whatever credentials clients send.
        keep_credentials: Whether, without ``key_env``, the credentials that clients send are
            passed on. To be False where clients use keys of the gateway's own.
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
        name: str = "",
        api: ApiFamily = "openai",
        key_env: str | None = None,
        keep_credentials: bool = True,
        connect_timeout: float = 5.0,
        read_timeout: float = 600.0,
    ) -> None:
        self._base, self.host = read_base_url(base_url, api)
        self.name = name or self.host
        self.api = api
        self._key_env = key_env or None
        self._key = read_key(key_env) if key_env else None
        self._keep_credentials = keep_credentials and self._key is None
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=read_timeout
        )
        self._session: aiohttp.ClientSession | None = None
        self._url = functools.lru_cache(maxsize=256)(self._make_url)

    def __repr__(self) -> str:
        return f"HttpTeacher({self._base!r})"

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        *,
        model: str = "",  # noqa: ARG002 - the protocol's
    ) -> TeacherResponse:
        """Send one request; see `Teacher.send`."""
        session = self._session or self._connect()
        data = io.BytesIO(body) if len(body) > _LARGEST_IN_ONE_GO else body or None
        try:
            response = await session.request(
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
        if has_control(value for _, value in response.raw_headers):
            response.close()
            raise TeacherError(
                f"The teacher at {self.host} sent a header with a control character, "
                "which cannot be passed on"
            )
        passed, delimited = passed_to_client(response.raw_headers)
        return TeacherResponse(
            status=response.status,
            headers=passed,
            chunks=_Chunks(self, response.content),
            close=response.close,
            delimited=delimited or response.status in {204, 304} or method == "HEAD",
            teacher=self.name,
        )

    async def models(self) -> list[str]:
        """Ask which models the teacher has: whether it can be used, and with this key.

        Raises:
            TeacherError: It cannot be reached, refuses the key, or answers with no list of
                models; the message says which.
        """
        path = "/v1/models?limit=1000" if self.api == "anthropic" else "/v1/models"
        try:
            async with asyncio.timeout(_PROBE_S):
                response = await self.send("GET", path, [], b"")
                try:
                    body = b"".join([chunk async for chunk in response.chunks])
                finally:
                    response.close()
        except TimeoutError:
            raise TeacherTimeoutError(
                f"The teacher at {self.host} did not list its models within {_PROBE_S:g} s"
            ) from None
        if response.status != 200:
            raise TeacherError(self._why_no_list(response.status))
        try:
            return [model["id"] for model in read_model_list(body)]
        except TeacherError:
            raise TeacherError(
                f"The teacher at {self.host} answered GET /v1/models with something else than a "
                "list of models; is its URL that of an API?"
            ) from None

    def _why_no_list(self, status: int) -> str:
        where = f"The teacher at {self.host}"
        if status in {401, 403}:
            if self._key_env is None:
                return f"{where} wants a key (status {status}), and no key_env is set for it"
            return f"{where} refuses the key in {self._key_env} (status {status})"
        if status == 404:
            return (
                f"{where} has no list of models where its URL says (status 404); the URL must be "
                "the one that clients of its API are given"
            )
        return f"{where} answered GET /v1/models with status {status}"

    def _connect(self) -> aiohttp.ClientSession:
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
        return self._session

    def _make_url(self, path: str) -> URL:
        return URL(self._base + path.removeprefix("/v1"), encoded=True)

    def _request_headers(self, headers: Headers) -> list[tuple[str, str]]:
        passed = passed_to_teacher(headers, credentials=self._keep_credentials)
        sent = [("Accept-Encoding", "identity")]
        sent += [(name.decode("latin-1"), _text(value)) for name, value in passed]
        if self.api == "anthropic":
            if not any(name == b"anthropic-version" for name, _ in passed):
                sent.append(("anthropic-version", _ANTHROPIC_VERSION))
            if self._key is not None:
                sent.append(("x-api-key", self._key))
        elif self._key is not None:
            sent.append(("Authorization", f"Bearer {self._key}"))
        return sent

    def _error(self, error: BaseException) -> TeacherError:
        """Say what went wrong in words that can hold neither key nor URL."""
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return TeacherConnectTimeoutError(
                f"The teacher at {self.host} did not answer in time: no connection"
            )
        if isinstance(error, TimeoutError):
            return TeacherTimeoutError(f"The teacher at {self.host} did not answer in time")
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = _reason(error.os_error)
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


def _reason(error: OSError) -> str:
    """Return what the system says, whatever the event loop made of it."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or type(error).__name__


def _text(value: bytes) -> str:
    """Decode a header value so that aiohttp, which writes UTF-8, writes the same bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
