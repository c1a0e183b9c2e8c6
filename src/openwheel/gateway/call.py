"""Holds one request on its way through the gateway."""

import time
from typing import Final

import msgspec

from openwheel.access import Key
from openwheel.gateway.meter import Source
from openwheel.loop.route import UNDECIDED, Route
from openwheel.loop.serving import Decision
from openwheel.teachers import Headers
from openwheel.wire import Api, Request, question_in

_NOWHERE: Final = Route(held_back=False, audited=False, unbiased=False)


class Call(msgspec.Struct):
    """One request with its decision, its route and its outcome.

    If a request could not be read, fields that come from its body keep their defaults. Then no
    student answers and it is not captured.

    Attributes:
        api: The API whose shape errors have.
        key: The key it was sent with; None if none was needed.
        body: As the client sent it.
        model: The model it asks for, ``""`` if it names none.
        began: The time its head came, in nanoseconds since 1970.
        started: The same moment on the clock of `time.perf_counter`.
        whole: The time it was whole, on that clock.
        id: Of its exchange, and of a student's answer.
        request: The request as read, None if it could not be read.
        task: The task the client named.
        is_retry: Whether the client's SDK marks it as sent before.
        decision: The decision on who answers.
        route: Its route.
        source: Who answered.
        status: The status sent to the client; 0 if none was.
        first_byte: Seconds to the first byte of the teacher's body; None if there was none.
        teacher: Name of the teacher that answered.
        response_model, output_tokens, input_tokens, finish_reason: Of the answer, where it was
            read.
        error: A short name of the error; ``""`` if there was none.
        marks: Headers for an upstream gateway, which other teachers do not see.
        captured: Whether its exchange is kept here.
        teacher_only: Whether an edge asks a teacher, whatever a student would answer.
        parts: The questions of a request that asks several things, each as a call of its own whose
            body has that question alone; empty for any other request.
    """

    api: Api
    key: Key | None = None
    body: bytes = b""
    model: str = ""
    began: int = msgspec.field(default_factory=time.time_ns)
    started: float = msgspec.field(default_factory=time.perf_counter)
    whole: float = 0.0
    id: str = ""
    request: Request | None = None
    task: str = ""
    is_retry: bool = False
    decision: Decision = UNDECIDED
    route: Route = _NOWHERE
    source: Source = "refused"
    status: int = 0
    first_byte: float | None = None
    teacher: str = ""
    response_model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str = ""
    error: str = ""
    marks: Headers = ()
    captured: bool = True
    teacher_only: bool = False
    parts: "tuple[Call, ...]" = ()

    @property
    def time(self) -> float:
        """When the request was whole, in seconds since 1970."""
        return self.began / 1e9 + (self.whole - self.started)

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return self.request is not None and self.request.stream

    @property
    def named(self) -> str:
        """The question that it asks, for messages: by its task, or in its own words."""
        question = None
        if self.request is not None:
            question = question_in(self.request.prompt.response_format)
        if self.decision.task or question is None:
            return self.decision.task
        return repr(question.described.partition("\n")[0][:60])

    @property
    def latency_ms(self) -> float:
        """Milliseconds since the request was whole."""
        return (time.perf_counter() - self.whole) * 1000
