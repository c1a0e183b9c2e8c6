"""A real upstream server, a gateway before it, and the pieces tests put together."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from openwheel.endpoints import HttpTeacher, Teacher
from openwheel.errors import StoreError
from openwheel.gateway import CaptureWriter, create_app, gateway_thread
from openwheel.loop.serving import Decision
from openwheel.traffic.exchange import Exchange
from openwheel.wire import Prompt, Request


@dataclass
class Received:
    """A request as the upstream received it."""

    line: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """A server whose every byte a test writes itself."""

    script: Script | None = None
    received: list[Received] = field(default_factory=list)
    disconnected: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    stream_head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )

    @staticmethod
    def chunked(data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data)

    def writes(self, raw: bytes, *, close: bool = False) -> None:
        """Answer every request with these bytes."""

        async def script(_: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            if close:
                await writer.drain()
                writer.close()

        self.script = script

    def answers(
        self, body: bytes, *, status: str = "200 OK", head: str = "content-type: application/json"
    ) -> None:
        """Answer every request with this response, its length added."""
        lines = f"HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.writes(lines.encode("latin-1") + body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        try:
            while True:
                line, *rest = (await head).decode("latin-1").strip().split("\r\n")
                headers = dict(h.split(": ", 1) for h in rest)
                headers = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Received(line, headers, body)
                self.received.append(request)
                assert self.script is not None
                work = asyncio.ensure_future(self.script(request, writer))
                # Waiting for the next request is how a client that goes away is noticed.
                head = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
                await asyncio.wait([work, head], return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    work.cancel()
                    self.disconnected.set()
                    return
                await work
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            head.cancel()
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await asyncio.wait([head])
                await writer.wait_closed()
            if head.done() and not head.cancelled():
                head.exception()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    up = Upstream()
    started = threading.Event()
    stop: list[Callable[[], None]] = []

    async def main() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        server = await asyncio.start_server(up.serve, "127.0.0.1", 0, limit=1 << 26)
        up.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    started.wait()
    yield up
    stop[0]()
    thread.join()


@dataclass
class ListStore:
    """A store in memory, which can be told to fail."""

    exchanges: list[Exchange] = field(default_factory=list)
    failing: bool = False
    batches: list[int] = field(default_factory=list)

    def append(self, exchanges: Sequence[Exchange]) -> int:
        if self.failing:
            raise StoreError("the disk is full")
        self.exchanges += exchanges
        self.batches.append(len(exchanges))
        return len(exchanges)

    def has_same(self, exchange: Exchange, *, within: float) -> bool:
        return any(
            one.request == exchange.request and one.time >= exchange.time - within
            for one in self.exchanges
        )


@dataclass
class WordServing:
    """Has a student that answers prompts with a certain word in them."""

    word: str = "refund"
    answer: str = "billing"
    student: str = "student-1"
    audit_probability: float = 0.0
    canary: float = 1.0
    confidence: float = 0.987654
    guess: str | None = None
    task: str = "route"
    asked: list[tuple[Prompt, str]] = field(default_factory=list)
    refreshed: int = 0

    def refresh(self) -> bool:
        self.refreshed += 1
        return False

    def decide(self, request: Request, task: str = "") -> Decision:
        prompt = request.prompt
        self.asked.append((prompt, task))
        if not self.student:
            return Decision(task=self.task, reason="no student")
        sure = self.word in prompt.messages[-1].text
        return Decision(
            answer=self.answer if sure else None,
            task=self.task,
            student=self.student,
            confidence=self.confidence if sure else 0.25,
            audit_probability=self.audit_probability,
            canary=self.canary,
            reason="" if sure else "confidence",
            guess=None if sure else self.guess,
        )


@dataclass
class Running:
    """A gateway that is being served."""

    url: str
    store: ListStore
    capture: CaptureWriter
    serving: WordServing

    def exchanges(self, count: int) -> list[Exchange]:
        """Wait for that many exchanges; no more may come."""
        deadline = time.monotonic() + 5
        while len(self.store.exchanges) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        self.capture.flush()
        assert len(self.store.exchanges) == count
        return self.store.exchanges


Gateway = Callable[..., Running]


@pytest.fixture
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    with contextlib.ExitStack() as stack:

        def start(
            teacher: Teacher | None = None, serving: WordServing | None = None, **settings
        ) -> Running:
            store = ListStore()
            capture = CaptureWriter(store)
            stack.callback(capture.close, 1.0)
            serving = serving or WordServing(student="")
            teacher = teacher or HttpTeacher(upstream.url)
            app = create_app(teacher, serving, capture, **settings)
            url = stack.enter_context(gateway_thread(app))
            return Running(url, store, capture, serving)

        yield start


@pytest.fixture
def student() -> Callable[..., WordServing]:
    """Make a student; see `WordServing`."""
    return WordServing


@pytest.fixture
def http() -> Callable[..., HTTPResponse]:
    """Send one request and return its response, whose ``.data`` is the whole body."""

    def send(
        method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        parts = urlsplit(url)
        with contextlib.closing(HTTPConnection(parts.netloc, timeout=10)) as client:
            client.request(method, url.removeprefix(f"http://{parts.netloc}"), body, headers or {})
            response = client.getresponse()
            response.data = response.read()
            return response

    return send
