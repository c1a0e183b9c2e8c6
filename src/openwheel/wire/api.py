"""What an API is to the gateway: reading its requests and answers, writing a student's."""

from collections.abc import Iterable
from typing import Literal, Protocol

from openwheel.wire.answer import Answer, Usage
from openwheel.wire.chat import Reply
from openwheel.wire.request import Request

ApiName = Literal["chat", "responses", "completions", "messages"]


class Api(Protocol):
    """One API for text: its requests, whole answers, streams and errors. All pure functions."""

    @property
    def name(self) -> ApiName:
        """The name that is kept with each exchange."""

    @property
    def path(self) -> str:
        """Where it is served."""

    @property
    def id_header(self) -> bytes:
        """The header in which a response has its id."""

    def read_request(self, body: bytes) -> Request:
        """Read a request.

        Raises:
            RequestError: The body is not JSON, or a field has a type the API does not allow.
        """

    def read_reply(self, body: bytes) -> Reply:
        """Read a whole answer.

        Raises:
            TeacherError: The body is not one.
        """

    def read_stream(self, events: Iterable[bytes]) -> Reply:
        """Join the ``data:`` payloads of a stream into the reply they spell.

        Raises:
            TeacherError: A payload cannot be read, or the answer is not finished.
        """

    def ends(self, tail: bytes) -> bool:
        """Return whether a stream whose last bytes are ``tail`` has reached its end."""

    def body(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> bytes:
        """Write a whole answer.

        Its id is ``identity`` behind the prefix that the API has; random without one.
        """

    def events(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> Iterable[bytes]:
        """Write an answer as the server-sent events of a stream, its end included.

        The id is as in `body`.
        """

    def error(self, message: str, *, type: str, code: str | None = None) -> bytes:
        """Write an error."""
