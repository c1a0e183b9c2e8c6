"""Takes requests of edges, and says what a gateway asks of the edge that it is part of.

An edge is an agent on a small machine, see `openwheel.edge`. It records what it decided itself, and
sends that later; so its upstream gateway neither asks a student about such a request nor keeps it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from starlette.types import Scope, Send

from openwheel.access import Key, RefusedError
from openwheel.gateway.asgi import header
from openwheel.gateway.call import Call
from openwheel.gateway.metric import Metric, Sample
from openwheel.teachers import Headers
from openwheel.wire import usable_id

ASKS: Final = b"x-openwheel-edge"
"""What an edge asks: `TEACHER`, or `ANYBODY`."""

EXCHANGE: Final = b"x-openwheel-exchange"
"""The id that the exchange of an edge's request is to have."""

TEACHER: Final = b"teacher"
"""A teacher is to answer; the edge keeps the exchange."""

ANYBODY: Final = b"anybody"
"""It is a request as any other; this gateway keeps the exchange, under the edge's id."""


class EdgeSide(Protocol):
    """The part of an edge that its gateway calls.

    Attributes:
        metrics: The metrics of `samples`.
    """

    metrics: Sequence[Metric[Any]]

    def mark(self, call: Call) -> None:
        """Say how a request goes upstream, once it is known who answers it; may change its route.

        On the event loop; does not wait.
        """

    async def unanswered(self, scope: Scope, send: Send, call: Call, reason: str) -> bool:
        """Answer a request that nobody could, and keep what the coin picked.

        Returns:
            Whether the client was answered.
        """

    def broke_off(self, scope: Scope, call: Call) -> None:
        """Keep what the coin picked of a request whose answer broke off half-way."""

    def audit(self, call: Call, path: str, headers: Headers) -> None:
        """Keep an audit, of a request that a student has answered, until it was asked."""

    def report(self) -> Mapping[str, Any]:
        """Return what ``GET /healthz`` says of the edge; ``ok`` is whether it is well."""

    def samples(self) -> list[Sample]:
        """Return what ``GET /metrics`` counts of the edge; called in a thread."""


def take_from_edge(scope: Scope, call: Call) -> str:
    """Note on a call what an edge asks; return the id that its exchange is to have, if it says one.

    Headers of other clients say nothing.

    Raises:
        RefusedError: It asks for something that there is not.
    """
    if call.key is None or not call.key.edge:
        return ""
    asks, identity = header(scope, ASKS), header(scope, EXCHANGE).decode("latin-1")
    if asks not in {b"", TEACHER, ANYBODY}:
        raise _refused(f"{ASKS.decode()} must be teacher or anybody")
    if identity and not usable_id(identity):
        raise _refused(f"{EXCHANGE.decode()} must be an id of printable ASCII")
    call.teacher_only = asks == TEACHER
    call.captured = not call.teacher_only
    return identity


def require_edge(key: Key | None) -> Key:
    """Return a key if it is an edge's.

    Raises:
        RefusedError: It is not (403).
    """
    if key is None or not key.edge:
        raise RefusedError(
            status=403,
            code="edge_not_allowed",
            type="permission_error",
            message="This is for edges alone: it needs a key of `openwheel keys create --edge`.",
        )
    return key


def _refused(message: str) -> RefusedError:
    return RefusedError(
        status=400, code="edge_header", type="invalid_request_error", message=f"{message}."
    )
