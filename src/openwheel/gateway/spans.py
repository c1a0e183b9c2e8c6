"""Makes the span of a request that is over."""

import time
from typing import Final

from starlette.types import Scope

from openwheel.gateway.asgi import header
from openwheel.gateway.call import Call
from openwheel.gateway.tracing import RequestSpan
from openwheel.store.exchange import BY_STUDENTS

_OTHER: Final = "/v1/{path}"
_EMBEDDINGS: Final = "/v1/embeddings"


def request_span(scope: Scope, call: Call) -> RequestSpan:
    """Return the span of a request."""
    server = scope.get("server") or ("", 0)
    route, api = (_EMBEDDINGS, "embeddings") if scope["path"] == _EMBEDDINGS else (_OTHER, "")
    if call.request is not None:
        route, api = call.api.path, call.api.name
    decision = call.decision
    took_s = time.perf_counter() - call.started
    return RequestSpan(
        start_ns=call.began,
        # Not by the clock, which may have been set meanwhile.
        end_ns=call.began + int(took_s * 1e9),
        method=scope["method"],
        route=route,
        api=api,
        status=call.status,
        error=call.error,
        source=call.source,
        traceparent=header(scope, b"traceparent"),
        tracestate=header(scope, b"tracestate"),
        server_address=server[0],
        server_port=server[1] or 0,
        model=call.model if call.request is not None else "",
        stream=call.stream,
        first_byte_s=call.first_byte,
        response_model=call.response_model,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        finish_reason=call.finish_reason,
        task=decision.task,
        student=decision.student if call.source in BY_STUDENTS else "",
        confidence=decision.confidence,
        audited=call.route.audited,
        teacher=call.teacher,
    )
