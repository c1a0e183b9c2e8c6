"""What an API is to the gateway: reading its requests and answers, writing a student's."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

from openwheel.errors import TeacherError
from openwheel.wire.answer import Answer, Reply, Usage, as_answer
from openwheel.wire.error import error_body
from openwheel.wire.request import Request

ApiName = Literal["chat", "responses", "completions", "messages", "decisions", "systemone"]


Written_co = TypeVar("Written_co", covariant=True)


class Write(Protocol[Written_co]):
    """Writes an answer."""

    def __call__(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        /,
        *,
        identity: str = "",
    ) -> Written_co:
        """Write it; its id is ``identity`` behind the API's prefix, random without one."""


class WriteError(Protocol):
    """Writes an error."""

    def __call__(self, message: str, *, type: str, code: str | None = None) -> bytes:
        """Write one."""


class WriteAll(Protocol):
    """Writes the answers to all questions of a request."""

    def __call__(
        self,
        answers: Sequence[Answer],
        requests: Sequence[Request],
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> bytes:
        """Write them; see `Write`."""


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """What an API has besides whose requests ask several questions. All pure functions.

    Attributes:
        split: Reads each question of a request as a request of its own, in order, or raises
            `RequestError`.
        only: Writes a request that has those questions alone whose places are given. The request
            is one that ``split`` has read.
        alone: Writes a request for each question, which has that question alone.
        read_replies: Reads the answer to each question from a whole answer, its usage shared
            among them, or raises `TeacherError`.
        join: Writes the answer to all questions: those that students answered, by their places,
            and a teacher's whole answer to the rest, whose places come last. The teacher's are
            written as it sent them. It has been read by ``read_replies``.
        body: Writes the answer to all questions, none of them a teacher's. What is no answer to
            its question is written as the API says that there is none.
    """

    split: Callable[[bytes], list[Request]]
    only: Callable[[bytes, Sequence[int]], bytes]
    alone: Callable[[bytes], list[bytes]]
    read_replies: Callable[[bytes, Sequence[Request]], list[Reply]]
    join: Callable[[Sequence[Request], Mapping[int, Answer], bytes, Sequence[int]], bytes]
    body: WriteAll

    def read_request(self, body: bytes) -> Request:
        """Read a request of one question; of several, the first, which no student answers so."""
        first, *others = self.split(body)
        if not others:
            return first
        return msgspec.structs.replace(
            first, prompt=msgspec.structs.replace(first.prompt, plain=False)
        )

    def write(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        /,
        *,
        identity: str = "",
    ) -> bytes:
        """Write a whole answer to one question; see `Write`."""
        return self.body([as_answer(answer)], [request], usage, identity=identity)


def no_stream(_events: Iterable[bytes]) -> Reply:
    """Refuse a stream: the API has none."""
    raise TeacherError("The answer is a stream, which this API does not have")


def no_events(
    _answer: str | Answer,
    _request: Request,
    _usage: Usage | None = None,
    *,
    identity: str = "",  # noqa: ARG001 - the protocol's
) -> Iterable[bytes]:
    """Return no event: no request of the API asks for a stream."""
    return ()


def no_end(_last: bytes) -> bool:
    """Return False: the API has no stream that could end."""
    return False


class Api(msgspec.Struct, frozen=True, kw_only=True):
    """One API: its requests, whole answers, streams and errors. All pure functions.

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
        questions: What it has besides if its requests ask several questions; else None.
    """

    name: ApiName
    path: str
    id_header: bytes = b"x-request-id"
    read_request: Callable[[bytes], Request]
    read_reply: Callable[[bytes], Reply]
    read_stream: Callable[[Iterable[bytes]], Reply] = no_stream
    ends: Callable[[bytes], bool] = no_end
    body: Write[bytes]
    events: Write[Iterable[bytes]] = no_events
    error: WriteError = error_body
    questions: Questions | None = None
