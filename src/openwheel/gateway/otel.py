"""Makes spans with the OpenTelemetry SDK, by its semantic conventions for generative AI.

The conventions (https://github.com/open-telemetry/semantic-conventions-genai,
docs/gen-ai/gen-ai-spans.md, as of November 2026) are still in development. They describe a client's
span; this is the server's end of the same request, so it has their names and the kind ``SERVER``.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

import openwheel
from openwheel.gateway.tracing import RequestSpan

logger = logging.getLogger(__name__)

_PATH: Final = "/v1/traces"
_LONGEST_TEXT: Final = 256
_LOG_EVERY_S: Final = 60.0
# The SDK logs here that spans cannot be sent, or that too many wait.
_SDK_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
# gen_ai.operation.name and gen_ai.provider.name, which tells the flavour of the API.
_OPERATIONS: Final = {
    "chat": ("chat", "openai"),
    "responses": ("chat", "openai"),
    "completions": ("text_completion", "openai"),
    "embeddings": ("embeddings", "openai"),
    "messages": ("chat", "anthropic"),
}


class OtelTracer:
    """Makes spans and sends them in batches, from a thread of the SDK.

    If they cannot be sent, at most 2,048 wait, the rest is dropped, and a line a minute is logged.

    Args:
        endpoint: OTLP over HTTP; ``/v1/traces`` is added where it is missing.
        service_name: As spans name the service.
        share: Share of the requests without a trace of their own, 0 to 1, that get a span.
        rng: Draws from [0, 1), for the share.
    """

    def __init__(
        self,
        endpoint: str,
        service_name: str,
        share: float,
        *,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._share = share
        self._rng = rng
        self._seldom = _Seldom()
        for name in _SDK_LOGGERS:
            logging.getLogger(name).addFilter(self._seldom)
        self._exporter: SpanExporter = OTLPSpanExporter(
            endpoint=endpoint.rstrip("/").removesuffix(_PATH) + _PATH
        )
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),
            resource=Resource.create(
                {"service.name": service_name, "service.version": openwheel.__version__}
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("openwheel", openwheel.__version__)
        self._propagator = TraceContextTextMapPropagator()
        self._root = Context()

    def record(self, request: RequestSpan) -> None:
        """Take a request's span; never wait and never fail."""
        context = self._root
        if request.traceparent:
            context = self._parent(request)
        if context is self._root and self._rng() >= self._share:
            return
        span = self._tracer.start_span(
            _name(request),
            context=context,
            kind=SpanKind.SERVER,
            attributes=_attributes(request),
            start_time=request.start_ns,
        )
        # By the HTTP conventions a server's span has failed from 500 on; an answer that was cut
        # short has failed whatever its status.
        if request.status >= 500 or (request.error and request.status < 400):
            span.set_status(Status(StatusCode.ERROR))
        span.end(request.end_ns)

    def close(self, timeout: float = 3.0) -> None:
        """Send the remaining spans, for at most ``timeout`` seconds."""
        # The SDK would wait for half a minute for a collector that does not answer.
        sending = threading.Thread(target=self._shut_down, name="openwheel-spans", daemon=True)
        sending.start()
        sending.join(timeout)
        if sending.is_alive():
            logger.warning("Spans were still to be sent after %g s; they are lost", timeout)
            self._seldom.silence()
            self._exporter.shutdown()  # which ends its tries, and so that thread before long

    def _shut_down(self) -> None:
        self._provider.shutdown()
        for name in _SDK_LOGGERS:
            logging.getLogger(name).removeFilter(self._seldom)

    def _parent(self, request: RequestSpan) -> Context:
        """Return the client's trace, if its headers name one."""
        carrier = {"traceparent": request.traceparent.decode("latin-1")}
        if request.tracestate:
            carrier["tracestate"] = request.tracestate.decode("latin-1")
        context = self._propagator.extract(carrier, self._root)
        return context if get_current_span(context).get_span_context().is_valid else self._root


class _Seldom(logging.Filter):
    """Lets one line a minute pass."""

    def __init__(self) -> None:
        super().__init__()
        self._next = float("-inf")

    def silence(self) -> None:
        """Drop all lines from now on."""
        self._next = float("inf")

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - the library's
        """Return whether the line is to be logged."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _LOG_EVERY_S
        return True


def _name(request: RequestSpan) -> str:
    operation, _ = _OPERATIONS.get(request.api, ("", ""))
    if operation:
        return f"{operation} {_text(request.model)}" if request.model else operation
    return f"{request.method} {request.route}" if request.route else request.method


def _attributes(request: RequestSpan) -> dict[str, AttributeValue]:
    """Return a span's attributes, without unknown ones."""
    operation, provider = _OPERATIONS.get(request.api, ("", ""))
    error = request.error or (str(request.status) if request.status >= 400 else "")
    texts = {
        "http.request.method": request.method,
        "http.route": request.route,
        "server.address": request.server_address,
        "error.type": error,
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": request.model,
        "gen_ai.response.model": request.response_model,
        "openwheel.source": request.source,
        "openwheel.task": request.task,
        "openwheel.student": request.student,
        "openwheel.teacher": request.teacher,
    }
    attributes: dict[str, AttributeValue] = {
        name: _text(value) for name, value in texts.items() if value
    }
    if request.status:
        attributes["http.response.status_code"] = request.status
    if request.server_port:
        attributes["server.port"] = request.server_port
    if request.stream:
        attributes["gen_ai.request.stream"] = True
        if request.first_byte_s is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = request.first_byte_s
    if request.input_tokens is not None:
        attributes["gen_ai.usage.input_tokens"] = request.input_tokens
    if request.output_tokens is not None:
        attributes["gen_ai.usage.output_tokens"] = request.output_tokens
    if request.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = (_text(request.finish_reason),)
    if request.confidence is not None:
        attributes["openwheel.confidence"] = request.confidence
    if request.student:
        attributes["openwheel.audited"] = request.audited
    return attributes


def _text(text: str) -> str:
    """Return a text bounded in length, and valid UTF-8, without which its batch is lost."""
    text = text[:_LONGEST_TEXT]
    return text if text.isascii() else text.encode(errors="replace").decode()
