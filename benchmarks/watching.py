"""What watching the gateway costs: counting, snapshots, the page and spans, in CPU time.

Spans go to a collector that takes them, in a process of its own on loopback.
Run: python benchmarks/watching.py
"""

import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from openwheel.gateway.meter import MOST_TASKS, Meter, process_usage
from openwheel.gateway.metrics_page import metrics_page
from openwheel.gateway.snapshots import merge
from openwheel.gateway.tracing import RequestSpan, make_tracer
from openwheel.settings import TelemetrySection

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


def best(work: Callable[[], object], times: int, rounds: int = 7) -> float:
    """Return microseconds of this thread's CPU time for one call, in the best of some rounds."""
    found = float("inf")
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(times):
            work()
        found = min(found, (time.thread_time() - began) / times * 1e6)
    return found


def counting() -> None:
    meter = Meter()

    def count() -> None:
        meter.request("chat", "student", 200, 0.0123, 0.004, "route")

    print(f"count a request          {best(count, 200_000):9.2f} us")
    took = best(lambda: meter.tokens("big", 100, 20, 33), 200_000)
    print(f"count a teacher's tokens {took:9.2f} us")
    for tasks in (3, MOST_TASKS):
        meter = Meter()
        for number in range(tasks):
            meter.request("chat", "student", 200, 0.01, 0.004, f"task {number}")
            meter.request("chat", "teacher", 200, 0.7, 0.3, f"task {number}")
        took = best(lambda: meter.snapshot(usage=process_usage()), 50)  # noqa: B023 - used at once
        print(f"snapshot, {tasks:3} tasks      {took:9.2f} us")
        merged = merge([("0", meter.snapshot())])
        took = best(lambda: metrics_page(merged), 10)  # noqa: B023 - used at once
        print(f"page, {tasks:3} tasks          {took:9.2f} us")


def collect(connection: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    connection.send(server.server_address[1])
    server.serve_forever()


def spans(
    url: str, share: float, traceparent: bytes, spans_each: int = 2_000
) -> tuple[float, float]:
    """Return microseconds a span: of the recording thread, and of the whole process."""
    settings = TelemetrySection(endpoint=url, service_name="benchmark", share=share)
    tracer = make_tracer(settings)
    assert tracer is not None

    def record() -> None:
        tracer.record(
            RequestSpan(
                start_ns=1,
                end_ns=2,
                route="/v1/chat/completions",
                api="chat",
                status=200,
                source="teacher",
                traceparent=traceparent,
                server_address="gateway",
                server_port=8000,
                model="big-model",
                response_model="big-model-2026",
                input_tokens=300,
                output_tokens=20,
                finish_reason="stop",
                task="route",
                student="student-1",
                confidence=0.4,
                teacher="big",
            )
        )

    recording = whole = float("inf")
    for _ in range(5):
        began = time.process_time()
        recording = min(recording, best(record, spans_each, rounds=1))
        time.sleep(1.0)  # for the batches to be sent
        whole = min(whole, (time.process_time() - began) / spans_each * 1e6)
    tracer.close()
    return recording, whole


def tracing() -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=collect, args=(theirs,))
    process.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    try:
        for name, share, trace in (
            ("no trace", 1.0, b""),
            ("client's trace", 1.0, TRACE + b"01"),
            ("not recorded by the client", 1.0, TRACE + b"00"),
            ("left out by the share", 0.0, b""),
        ):
            recording, whole = spans(url, share, trace)
            print(f"span, {name:26} {recording:6.2f} us, with its sending {whole:6.2f} us")
    finally:
        process.terminate()
        process.join()


def main() -> None:
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    counting()
    tracing()


if __name__ == "__main__":
    main()
