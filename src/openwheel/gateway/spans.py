"""What a span says of a request that is over."""

import time
from typing import Final

from starlette.types import Scope

from openwheel.gateway.asgi import header
from openwheel.gateway.call import Passage
from openwheel.gateway.exchanges import Asked
from openwheel.gateway.tracing import RequestSpan
from openwheel.store.exchange import BY_STUDENTS

_OTHER: Final = "/v1/{path}"


def request_span(scope: Scope, passage: Passage, asked: Asked | None) -> RequestSpan:
    """Return the span of a request; ``asked`` is None where no student could have answered."""
    server = scope.get("server") or ("", 0)
    if asked is None:
        embeddings = scope["path"] == "/v1/embeddings"
        route = "/v1/embeddings" if embeddings else _OTHER
        api = "embeddings" if embeddings else ""
    else:
        route, api = asked.api.path, asked.api.name
    decision = asked.decision if asked else None
    by_student = passage.source in BY_STUDENTS
    took_s = time.perf_counter() - passage.started
    return RequestSpan(
        start_ns=passage.began,
        # Not by the clock, which may have been set meanwhile.
        end_ns=passage.began + int(took_s * 1e9),
        method=scope["method"],
        route=route,
        api=api,
        status=passage.status,
        error=passage.error,
        source=passage.source,
        traceparent=header(scope, b"traceparent"),
        tracestate=header(scope, b"tracestate"),
        server_address=server[0],
        server_port=server[1] or 0,
        model=asked.request.model if asked else "",
        stream=asked.request.stream if asked else False,
        first_byte_s=passage.first_byte,
        response_model=passage.model,
        input_tokens=passage.input_tokens,
        output_tokens=passage.output_tokens,
        finish_reason=passage.finish_reason,
        task=decision.task if decision else "",
        student=decision.student if decision and by_student else "",
        confidence=decision.confidence if decision else None,
        audited=asked.way.audited if asked else False,
        teacher=passage.teacher,
    )
