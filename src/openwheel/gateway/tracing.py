"""Records one OpenTelemetry span a request, at its end.

A span holds names, counts and times; never the content of a message, and never a key. This module
needs no extra; `openwheel.gateway.otel` makes the spans.
"""

from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from openwheel.errors import SettingError
from openwheel.settings import TelemetrySection


class RequestSpan(msgspec.Struct, frozen=True, kw_only=True):
    """One request that is over, as its span shows it.

    Attributes:
        start_ns, end_ns: Nanoseconds since 1970.
        method: The HTTP method.
        route: The endpoint, e.g. ``/v1/chat/completions``; one of few.
        api: ``chat``, ``responses``, ``completions``, ``messages`` or ``embeddings``; ``""`` for
                any other request, whose span has no model.
        status: Of the response that was sent; 0 if none was.
        error: A short name of the error, such as ``teacher_timeout``; one of few.
        source: Who answered: ``student``, ``teacher``, ``best_effort``, ``forwarded`` or
            ``refused``.
        traceparent, tracestate: The request's headers (W3C Trace Context), ``b""`` without.
        server_address, server_port: Where the client sent it.
        model: As asked for.
        stream: Whether a stream was asked for.
        first_byte_s: Seconds until the response's first byte.
        response_model: As the answer names it.
        input_tokens, output_tokens: As the teacher counted them.
        finish_reason: Why the answer ended.
        task, student, confidence, audited: See `openwheel.loop.serving.Decision`.
        teacher: The teacher that answered.
    """

    start_ns: int
    end_ns: int
    method: str = "POST"
    route: str = ""
    api: str = ""
    status: int = 0
    error: str = ""
    source: str = ""
    traceparent: bytes = b""
    tracestate: bytes = b""
    server_address: str = ""
    server_port: int = 0
    model: str = ""
    stream: bool = False
    first_byte_s: float | None = None
    response_model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str = ""
    task: str = ""
    student: str = ""
    confidence: float | None = None
    audited: bool = False
    teacher: str = ""


class Tracer(Protocol):
    """Sends spans."""

    def record(self, request: RequestSpan) -> None:
        """Take a request's span; never wait and never fail."""

    def close(self, timeout: float = 3.0) -> None:
        """Send the remaining spans, for at most ``timeout`` seconds. Called from a thread."""


def make_tracer(settings: TelemetrySection) -> Tracer | None:
    """Return a tracer; None if there is no endpoint to send spans to.

    It has a thread of its own, so make it in the process that uses it. The OpenTelemetry SDK's
    environment variables apply too, such as ``OTEL_EXPORTER_OTLP_HEADERS`` for a key.

    Requests that bring a trace of their own get a span if their client records it.

    Raises:
        SettingError: The endpoint is no HTTP URL, or the extra ``otel`` is not installed.
    """
    endpoint = settings.endpoint
    if not endpoint:
        return None
    try:
        parts = urlsplit(endpoint)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise SettingError(
            "telemetry.endpoint must be an HTTP URL such as http://localhost:4318, "
            f"was {endpoint!r}"
        )
    try:
        # Here, so that gateways without spans do not load it.
        from openwheel.gateway.otel import OtelTracer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise SettingError(
            "telemetry.endpoint needs OpenTelemetry, which is not installed: "
            'pip install "openwheel[otel]"'
        ) from None
    return OtelTracer(endpoint, settings.service_name, settings.share)
