"""Defines the protocol of a teacher: an endpoint that takes a request as bytes."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol, Self

import msgspec

from openwheel.errors import TeacherError

Headers = Sequence[tuple[bytes, bytes]]
ApiFamily = Literal["openai", "anthropic"]

LARGEST = 8 << 20
"""The most bytes of an answer that is read without a client: an endless one would fill memory."""


class TeacherTimeoutError(TeacherError):
    """The teacher took longer than allowed."""


class TeacherNotReachedError(TeacherError):
    """There was no connection, so nothing was sent: the request may be sent again."""


class TeacherConnectTimeoutError(TeacherTimeoutError, TeacherNotReachedError):
    """There was no connection in time."""


class Sending(msgspec.Struct):
    """The progress of a request before its answer.

    Attributes:
        teacher: Name of the teacher that has it and has not answered; ``""`` if none has.
    """

    teacher: str = ""


class TeacherRequest(NamedTuple):
    """A request to a teacher.

    Attributes:
        method: In upper case.
        path: The path from ``/v1`` on, percent-encoded as the client sent it, with its query.
        headers: The client's headers, names in lower case; the teacher drops those that concern
            one connection only.
        body: Sent as it is.
        model: The model that the body names, ``""`` if it names none or was not read.
        sending: Gets the name of the teacher that was sent the request.
        marks: Headers of this gateway for one before it; no other teacher sees them.
    """

    method: str
    path: str
    headers: Headers
    body: bytes
    model: str = ""
    sending: Sending | None = None
    marks: Headers = ()


class TeacherResponse(msgspec.Struct, frozen=True):
    """The head of a teacher's response, and its body as it arrives.

    Attributes:
        status: The HTTP status, 200 to 599.
        headers: The end-to-end headers, names in lower case, in the order they came. The body's
            coding is in ``content-encoding`` among them.
        chunks: The body. Iterating raises TeacherError when it breaks off before its end.
        close: Call it when done, however it ended. If the body was not read to its end, it
            cancels the request.
        delimited: Whether the end of the body differs from a broken connection. False
            for a body that ends when its connection closes (RFC 9112, section 6.3).
        teacher: Name of the teacher that answered; ``""`` if none did, as for a model that no
            teacher takes.
        begun: Whether another teacher may have begun to work on the request before and failed.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    chunks: AsyncIterator[bytes]
    close: Callable[[], None]
    delimited: bool = True
    teacher: str = ""
    begun: bool = False

    async def read(self) -> bytes:
        """Return the whole body, and close.

        Raises:
            TeacherError: It breaks off, or is longer than `LARGEST`.
        """
        chunks, size = list[bytes](), 0
        try:
            async for chunk in self.chunks:
                size += len(chunk)
                if size > LARGEST:
                    raise TeacherError(
                        f"An answer of the teacher {self.teacher} is longer than "
                        f"{LARGEST >> 20} MiB, and was not read to its end"
                    )
                chunks.append(chunk)
        finally:
            self.close()
        return b"".join(chunks)


class Teacher(Protocol):
    """An endpoint that answers requests of the OpenAI API, of Anthropic's, or of both."""

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request and return as soon as the head of the response is there.

        Raises:
            TeacherNotReachedError: There was no connection; nothing was sent to any teacher.
            TeacherTimeoutError: No connection, or no response, in time.
            TeacherError: The teacher could not be reached, or broke off.
        """

    async def close(self) -> None:
        """Close connections. Sending again makes new ones."""


def whole_response(
    status: int,
    *chunks: bytes,
    content_type: bytes = b"application/json",
    teacher: str = "",
) -> TeacherResponse:
    """Return a response whose body is complete."""
    headers = [(b"content-type", content_type)]
    if len(chunks) == 1:
        headers.append((b"content-length", str(len(chunks[0])).encode()))
    return TeacherResponse(status, headers, WholeChunks(chunks), nothing_to_close, teacher=teacher)


class WholeChunks:
    """An iterator over complete chunks; one left half-way needs no closing."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


def nothing_to_close() -> None:
    """Do nothing: the ``close`` of a response that holds no connection."""
