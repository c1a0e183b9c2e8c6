"""What an API is to the gateway: reading its requests and answers, writing a student's."""

from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeVar

import msgspec

from openwheel.wire.answer import Answer, Reply, Usage
from openwheel.wire.error import error_body
from openwheel.wire.request import Request

ApiName = Literal["chat", "responses", "completions", "messages"]


Written_co = TypeVar("Written_co", covariant=True)


class Write(Protocol[Written_co]):
    """Writes an answer."""

    def __call__(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> Written_co:
        """Write it; its id is ``identity`` behind the API's prefix, random without one."""


class WriteError(Protocol):
    """Writes an error."""

    def __call__(self, message: str, *, type: str, code: str | None = None) -> bytes:
        """Write one."""


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """One API for text: its requests, whole answers, streams and errors. All pure functions.

    Attributes:
        name: As it is kept with each exchange.
        path: Where it is served.
        id_header: The header in which a response has its id.
        read_request: Reads a request, or raises `RequestError`: the body is not JSON, or a field
            has a type the API does not allow.
        read_reply: Reads a whole answer, or raises `TeacherError`: the body is not one.
        read_stream: Joins the ``data:`` payloads of a stream into the reply they spell, or raises
            `TeacherError`: one cannot be read, or the answer is not finished.
        ends: Returns whether a stream whose last bytes are given has reached its end.
        body: Writes a whole answer.
        events: Writes an answer as the server-sent events of a stream, its end included.
        error: Writes an error.
    """

    name: ApiName
    path: str
    id_header: bytes = b"x-request-id"
    read_request: Callable[[bytes], Request]
    read_reply: Callable[[bytes], Reply]
    read_stream: Callable[[Iterable[bytes]], Reply]
    ends: Callable[[bytes], bool]
    body: Write[bytes]
    events: Write[Iterable[bytes]]
    error: WriteError = error_body
