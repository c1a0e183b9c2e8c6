"""Sends requests to a teacher over HTTP: any endpoint of the OpenAI API, or Anthropic's.

Bodies pass as they are in both directions. There are no retries here; see `TeacherPool`.
"""

import asyncio
import functools
from typing import Self
from urllib.parse import unquote, urlsplit

from openwheel.errors import TeacherError
from openwheel.teachers.address import read_base_url, read_key
from openwheel.teachers.headers import as_path, has_control, passed_to_client, passed_to_teacher
from openwheel.teachers.http_client import Answer, HttpClient, write_head
from openwheel.teachers.model_list import read_model_list
from openwheel.teachers.teacher import (
    ApiFamily,
    Headers,
    Sending,
    TeacherRequest,
    TeacherResponse,
    TeacherTimeoutError,
)

_ANTHROPIC_VERSION = b"2023-06-01"
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PROBE_S = 15.0
_TASK, _TEACHER = b"x-openwheel-task", b"x-openwheel-teacher"
_LONGEST_NAME = 200


class HttpTeacher:
    """An endpoint that speaks the OpenAI API or Anthropic's.

    Connections are made on the event loop that is running when the first request is sent, and
    belong to it until `close`.

    Args:
        base_url: As a client of the API takes it: ``http://localhost:8000/v1`` for
            OpenAI's, ``https://api.anthropic.com`` for Anthropic's. A URL without a path stands
            for its ``/v1``.
        name: Its name in responses, counts and messages; the host if left out.
        api: The API it speaks. It decides how the key is sent: ``Authorization: Bearer`` or
            ``x-api-key``.
        key_env: Name of the environment variable that holds the teacher's key. It then replaces
            whatever credentials clients send.
        keep_credentials: Whether, without ``key_env``, the credentials that clients send are
            passed on. Must be False if clients use keys of the gateway.
        connect_timeout: Seconds to get a connection.
        read_timeout: Seconds without a byte from the teacher; long, since a reasoning model may
            think for minutes before its first.
        is_gateway: Whether it is a gateway of Openwheel, which gets a request's ``marks`` and the
            task that the client names, and may say which teacher answered.

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
        is_gateway: bool = False,
    ) -> None:
        self._base, self.host = read_base_url(base_url, api)
        self.name = name or self.host
        self.api = api
        self._key_env = key_env or None
        self._key = read_key(key_env) if key_env else None
        self._is_gateway = is_gateway
        self._keep_credentials = keep_credentials and self._key is None
        parts = urlsplit(self._base)
        self._path = parts.path
        secure = parts.scheme == "https"
        self._client = HttpClient(
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            secure=secure,
            label=self.host,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        self._added = self._own_headers()
        self._target = functools.lru_cache(maxsize=256)(
            lambda path: as_path(self._path + path.removeprefix("/v1"))
        )

    def __repr__(self) -> str:
        return f"HttpTeacher({self._base!r})"

    async def close(self) -> None:
        """Close every connection."""
        self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request; see `Teacher.send`."""
        method, body = request.method, request.body
        head = write_head(
            method,
            self._target(request.path),
            self._request_headers(request),
            len(body) if body or method in _WITH_BODY else None,
        )
        response = await self._ask(head, body, bodiless=method == "HEAD", sending=request.sending)
        if not 200 <= response.status <= 599:
            response.close()
            raise TeacherError(f"The teacher at {self.host} answered with status {response.status}")
        if has_control(value for _, value in response.headers):
            response.close()
            raise TeacherError(
                f"The teacher at {self.host} sent a header with a control character, "
                "which cannot be passed on"
            )
        passed, delimited = passed_to_client(response.headers, response.status)
        return TeacherResponse(
            status=response.status,
            headers=passed,
            chunks=response,
            close=response.close,
            delimited=delimited or method == "HEAD",
            teacher=self._told(response.headers) or self.name,
        )

    def _told(self, headers: Headers) -> str:
        """Return the teacher that a gateway says has answered, ``""`` if it says none."""
        if not self._is_gateway:
            return ""
        values = [value for name, value in headers if name.lower() == _TEACHER]
        return unquote(values[0].decode("latin-1"))[:_LONGEST_NAME] if values else ""

    async def _ask(
        self, head: bytes, body: bytes, *, bodiless: bool, sending: Sending | None
    ) -> Answer:
        if sending is None:
            return await self._client.request(head, body, bodiless=bodiless)

        def sent() -> None:
            sending.teacher = self.name

        try:
            answer = await self._client.request(head, body, bodiless=bodiless, sent=sent)
        except TeacherTimeoutError:
            raise  # it may be at work on it still
        except TeacherError:
            sending.teacher = ""
            raise
        sending.teacher = ""
        return answer

    async def models(self) -> list[str]:
        """Ask which models the teacher has, which also checks the URL and the key.

        Raises:
            TeacherError: It cannot be reached, refuses the key, or answers with no list of
                models; the message says which.
        """
        path = "/v1/models?limit=1000" if self.api == "anthropic" else "/v1/models"
        try:
            async with asyncio.timeout(_PROBE_S):
                response = await self.send(TeacherRequest("GET", path, [], b""))
                body = await response.read()
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
        teacher = f"The teacher at {self.host}"
        if status in {401, 403}:
            if self._key_env is None:
                return f"{teacher} wants a key (status {status}), and no key_env is set for it"
            return f"{teacher} refuses the key in {self._key_env} (status {status})"
        if status == 404:
            return (
                f"{teacher} has no list of models where its URL says (status 404); the URL must be "
                "the one that clients of its API are given"
            )
        return f"{teacher} answered GET /v1/models with status {status}"

    def _own_headers(self) -> list[tuple[bytes, bytes]]:
        added = [(b"host", self.host.encode("ascii" if self.host.isascii() else "idna"))]
        added.append((b"accept-encoding", b"identity"))
        if self._key is not None:
            key = self._key.encode("ascii")
            if self.api == "anthropic":
                added.append((b"x-api-key", key))
            else:
                added.append((b"authorization", b"Bearer " + key))
        return added

    def _request_headers(self, request: TeacherRequest) -> list[tuple[bytes, bytes]]:
        headers = request.headers
        sent = self._added + passed_to_teacher(headers, credentials=self._keep_credentials)
        if self._is_gateway:
            sent += [pair for pair in headers if pair[0] == _TASK]
            sent += request.marks
        if self.api == "anthropic" and not any(name == b"anthropic-version" for name, _ in sent):
            sent.append((b"anthropic-version", _ANTHROPIC_VERSION))
        return sent
