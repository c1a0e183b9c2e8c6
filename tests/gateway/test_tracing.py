"""Spans, as a collector receives them: OTLP over HTTP, decoded from its protobuf."""

import asyncio
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from openwheel.errors import SettingError
from openwheel.gateway.otel import OtelTracer
from openwheel.gateway.tracing import RequestSpan, make_tracer
from openwheel.settings import TelemetrySection
from teacher import Asked, Teacher, respond

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(Teacher):
    """An OTLP receiver on loopback."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []
        self.go = threading.Event()
        self.go.set()

    async def _take(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(self.go.wait, 30)
        self.requests.append((asked.path, ExportTraceServiceRequest.FromString(asked.body)))
        writer.write(respond(b""))

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for _, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made
        made.go.set()


def plain(value):
    """Return an OTLP value as Python's."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    return getattr(value, kind)


def attributes(found):
    return {one.key: plain(one.value) for one in found.attributes}


def telemetry(endpoint, share):
    return TelemetrySection(endpoint=endpoint, service_name="desk", share=share)


def sent(collector, *requests, share=1.0):
    """Record requests, close, and return the spans that arrived."""
    tracer = make_tracer(telemetry(collector.origin, share))
    for request in requests:
        tracer.record(request)
    tracer.close()
    return collector.spans


ANSWERED = RequestSpan(
    start_ns=1_700_000_000_000_000_001,
    end_ns=1_700_000_001_500_000_002,
    route="/v1/chat/completions",
    api="chat",
    status=200,
    source="student",
    server_address="gateway.example",
    server_port=8000,
    model="big-model",
    stream=True,
    first_byte_s=0.25,
    response_model="big-model-2026",
    input_tokens=12,
    output_tokens=0,
    finish_reason="stop",
    task="route",
    student="s-1",
    confidence=0.98,
    audited=True,
    teacher="big",
)


def test_a_request_is_one_span_by_the_conventions(collector):
    (span,) = sent(collector, ANSWERED)
    assert span.name == "chat big-model"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.start_time_unix_nano == ANSWERED.start_ns
    assert span.end_time_unix_nano == ANSWERED.end_ns
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert not span.parent_span_id
    assert not span.events
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "server.address": "gateway.example",
        "server.port": 8000,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "big-model",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "big-model-2026",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 0,
        "openwheel.source": "student",
        "openwheel.task": "route",
        "openwheel.student": "s-1",
        "openwheel.confidence": 0.98,
        "openwheel.audited": True,
        "openwheel.teacher": "big",
    }
    ((path, request),) = collector.requests
    assert path == "/v1/traces"
    assert attributes(request.resource_spans[0].resource)["service.name"] == "desk"


@pytest.mark.parametrize("ending", ["/", "/v1/traces"])
def test_the_endpoint_may_be_written_with_its_path(collector, ending):
    tracer = make_tracer(telemetry(collector.origin + ending, 1.0))
    tracer.record(ANSWERED)
    tracer.close()
    assert [path for path, _ in collector.requests] == ["/v1/traces"]


@pytest.mark.parametrize(
    ("api", "operation", "provider"),
    [
        ("responses", "chat", "openai"),
        ("completions", "text_completion", "openai"),
        ("embeddings", "embeddings", "openai"),
        ("messages", "chat", "anthropic"),
    ],
)
def test_each_api_has_its_operation(collector, api, operation, provider):
    (span,) = sent(collector, RequestSpan(start_ns=1, end_ns=2, api=api, status=200))
    assert span.name == operation
    found = attributes(span)
    assert found["gen_ai.operation.name"] == operation
    assert found["gen_ai.provider.name"] == provider


def test_what_is_not_known_is_not_said(collector):
    (span,) = sent(
        collector, RequestSpan(start_ns=1, end_ns=2, method="GET", status=200, source="forwarded")
    )
    assert span.name == "GET"
    assert attributes(span) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "openwheel.source": "forwarded",
    }


@pytest.mark.parametrize(
    ("status", "error", "type", "code"),
    [
        (404, "", "404", Status.STATUS_CODE_UNSET),
        (429, "rate_limit", "rate_limit", Status.STATUS_CODE_UNSET),
        (504, "teacher_timeout", "teacher_timeout", Status.STATUS_CODE_ERROR),
        (500, "", "500", Status.STATUS_CODE_ERROR),
        (200, "cut_short", "cut_short", Status.STATUS_CODE_ERROR),
    ],
)
def test_errors_have_a_type(collector, status, error, type, code):
    request = RequestSpan(start_ns=1, end_ns=2, api="chat", status=status, error=error)
    (span,) = sent(collector, request)
    assert attributes(span)["error.type"] == type
    assert span.status.code == code
    assert span.status.message == ""


def traced(flags, state=b""):
    return RequestSpan(
        start_ns=1,
        end_ns=2,
        api="chat",
        status=200,
        traceparent=f"00-{TRACE}-{PARENT}-{flags}".encode(),
        tracestate=state,
    )


def test_the_clients_trace_goes_on(collector):
    (span,) = sent(collector, traced("01", b"vendor=1"), share=0.0)
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.span_id.hex() != PARENT
    assert span.trace_state == "vendor=1"


def test_what_the_client_does_not_record_is_not_recorded(collector):
    assert sent(collector, traced("00")) == []


@pytest.mark.parametrize("header", [b"rubbish", b"00-" + b"0" * 32 + b"-01", b"\xff\r\n"])
def test_a_trace_that_cannot_be_read_is_none(collector, header):
    request = RequestSpan(start_ns=1, end_ns=2, api="chat", traceparent=header)
    assert sent(collector, request, share=0.0) == []
    (span,) = sent(collector, request)
    assert not span.parent_span_id


def test_only_a_share_without_a_trace_gets_a_span(collector):
    draws = iter([0.0, 0.24, 0.25, 0.9])
    tracer = OtelTracer(collector.origin, "desk", 0.25, rng=lambda: next(draws))
    for start in range(1, 5):
        tracer.record(RequestSpan(start_ns=start, end_ns=9, api="chat"))
    tracer.close()
    assert [span.start_time_unix_nano for span in collector.spans] == [1, 2]


def test_a_name_that_is_no_text_costs_no_other_span(collector):
    odd = RequestSpan(start_ns=1, end_ns=2, api="chat", model="a\ud800b", task="開く" * 1000)
    spans = sent(collector, odd, ANSWERED)
    assert [span.name for span in spans] == ["chat a?b", "chat big-model"]
    assert attributes(spans[0])["openwheel.task"] == "開く" * 128


def test_spans_are_sent_while_it_runs(collector):
    tracer = make_tracer(telemetry(collector.origin, 1.0))
    for _ in range(600):  # more than one batch
        tracer.record(ANSWERED)
    deadline = time.monotonic() + 20
    while not collector.spans and time.monotonic() < deadline:
        time.sleep(0.01)
    assert collector.spans
    tracer.close()
    assert len(collector.spans) == 600


def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end(collector, caplog):
    collector.go.clear()
    tracer = make_tracer(telemetry(collector.origin, 1.0))
    for _ in range(5_000):
        tracer.record(ANSWERED)
    assert collector.requests == []
    tracer.close(timeout=0.2)
    assert collector.requests == []
    assert "they are lost" in caplog.text


def test_a_collector_that_is_away_costs_a_line(caplog):
    tracer = make_tracer(telemetry("http://127.0.0.1:9", 1.0))
    for _ in range(6_000):
        tracer.record(ANSWERED)
    deadline = time.monotonic() + 20
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.01)
    for _ in range(6_000):
        tracer.record(ANSWERED)
    tracer.close(timeout=0.2)
    said = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert len(said) == 1
    assert not [record for record in caplog.records if record.levelno > logging.ERROR]


def test_no_endpoint_no_spans():
    assert make_tracer(telemetry("", 1.0)) is None


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://x:4317", "http://", "http://x:y"])
def test_an_endpoint_must_be_a_url(endpoint):
    with pytest.raises(SettingError, match=re.escape(repr(endpoint))):
        make_tracer(telemetry(endpoint, 1.0))


def test_without_the_extra_it_says_which():
    program = (
        "import sys\n"
        "sys.modules['opentelemetry.context'] = None  # as where it is not installed\n"
        "from openwheel.errors import SettingError\n"
        "from openwheel.gateway.tracing import make_tracer\n"
        "from openwheel.settings import TelemetrySection\n"
        "assert make_tracer(TelemetrySection()) is None\n"
        "try:\n    make_tracer(TelemetrySection(endpoint='http://localhost:4318'))\n"
        "except SettingError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 'pip install "openwheel[otel]"' in done.stdout
