"""A real upstream server, a gateway before it, and the pieces tests put together."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

import pytest

from gateway.making import make_app
from openwheel import teachers
from openwheel.errors import StoreError
from openwheel.gateway import CaptureWriter, gateway_thread
from openwheel.loop.serving import Decision
from openwheel.store.exchange import Exchange
from openwheel.teachers import HttpTeacher
from openwheel.wire import Prompt, Request
from teacher import Teacher


@pytest.fixture
def upstream() -> Iterator[Teacher]:
    with Teacher() as teacher:
        yield teacher


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
    below_threshold_answer: str | None = None
    task: str = "route"
    asked: list[tuple[Prompt, str]] = field(default_factory=list)
    refreshed: int = 0

    def refresh(self) -> bool:
        self.refreshed += 1
        return False

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision:
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
            below_threshold_answer=None if sure else self.below_threshold_answer,
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
def gateway(upstream: Teacher) -> Iterator[Gateway]:
    with contextlib.ExitStack() as stack:

        def start(
            teacher: teachers.Teacher | None = None, serving: WordServing | None = None, **settings
        ) -> Running:
            store = ListStore()
            capture = CaptureWriter(store)
            stack.callback(capture.close, 1.0)
            serving = serving or WordServing(student="")
            teacher = teacher or HttpTeacher(upstream.url)
            app = make_app(teacher, serving, capture, **settings)
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
