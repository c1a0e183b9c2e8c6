"""What a teacher is to the gateway: something that a request is sent to, as bytes."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import msgspec

from openwheel.errors import TeacherError

Headers = Sequence[tuple[bytes, bytes]]


class TeacherTimeoutError(TeacherError):
    """The teacher took longer than it is allowed to."""


class TeacherResponse(msgspec.Struct, frozen=True):
    """The head of a teacher's response, and its body as it arrives.

    Attributes:
        status: The HTTP status, 200 to 599.
        headers: The end-to-end headers, names in lower case, in the order they came. The body's
            coding is what ``content-encoding`` among them says.
        chunks: The body. Iterating raises TeacherError when it breaks off before its end.
        close: To be called when done, however it ended; with the body not read to its end it
            cancels the request.
        delimited: Whether the end of the body can be told from a connection that broke. False
            for a body that ends when its connection closes (RFC 9112, section 6.3).
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    chunks: AsyncIterator[bytes]
    close: Callable[[], None]
    delimited: bool = True


class Teacher(Protocol):
    """An endpoint that answers requests of the OpenAI API."""

    async def open(self) -> None:
        """Get ready to send, on the running event loop."""

    async def close(self) -> None:
        """Let go of connections."""

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> TeacherResponse:
        """Send one request and return as soon as the head of the response is there.

        Args:
            method: In upper case.
            path: The path from ``/v1`` on, percent-encoded as the client sent it, with its query.
            headers: The client's headers, names in lower case; the teacher drops those that
                concern one connection only.
            body: Sent as it is.

        Raises:
            TeacherTimeoutError: No connection, or no response, in time.
            TeacherError: The teacher could not be reached, or broke off.
        """


def error_body(message: str, *, type: str, code: str | None = None) -> bytes:
    """Write an error in the shape of the OpenAI API."""
    error = {"message": message, "type": type, "param": None, "code": code}
    return msgspec.json.encode({"error": error})
