"""How one request fares on its way through the gateway."""

import time

import msgspec

from openwheel.access import Key
from openwheel.gateway.meter import Source
from openwheel.wire import Api


class Passage(msgspec.Struct):
    """How one request fared.

    Attributes:
        api: The API whose shape errors have.
        key: That it was sent with; None if none was needed.
        body: As the client sent it.
        started: On the clock of `time.perf_counter`.
        began: In nanoseconds since 1970.
        source: Who answered.
        status: That the client was sent; 0 if none was.
        first_byte: Seconds to the first byte of the teacher's body; None if there was none.
        teacher: Name of the teacher that answered.
        model, output_tokens, input_tokens, finish_reason: Of the answer, where it was read.
        error: What went wrong, as a short name; ``""`` if nothing did.
    """

    api: Api
    key: Key | None = None
    body: bytes = b""
    started: float = msgspec.field(default_factory=time.perf_counter)
    began: int = msgspec.field(default_factory=time.time_ns)
    source: Source = "refused"
    status: int = 0
    first_byte: float | None = None
    teacher: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str = ""
    error: str = ""
