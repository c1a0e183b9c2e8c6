"""What is kept and what is not, and whether answers wait for it."""

import asyncio
import contextlib
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from starlette.routing import Route, Router

from gateway.holding import (
    ASK,
    COMPLETION,
    HEAD,
    USER,
    HeldStore,
    Reading,
    eventually,
    written,
)
from gateway.making import make_app
from openwheel.errors import StoreError
from openwheel.gateway import CaptureWriter, gateway_thread
from openwheel.gateway.audit import Audits
from openwheel.gateway.authorization import Guard
from openwheel.gateway.completions import Completions
from openwheel.gateway.meter import Meter
from openwheel.gateway.patient_teacher import PatientTeacher
from openwheel.gateway.recorder import Recorder
from openwheel.gateway.state import GatewayState, TapMemory
from openwheel.settings import CaptureSection, GatewaySection
from openwheel.store import Exchange, Store
from openwheel.teachers import HttpTeacher
from openwheel.wire import APIS, TEXT_APIS, Answer


@pytest.fixture
def held():
    store = HeldStore()
    yield store
    store.go.set()


@pytest.fixture
def start(upstream, student):
    """Start a gateway on a store, and return its URL and its capture."""
    with contextlib.ExitStack() as stack:

        def run(store, serving=None, *, queue=None, **settings):
            capture = CaptureWriter(store, settings=CaptureSection(**(queue or {})))
            stack.callback(capture.close, 5.0)
            app = make_app(
                HttpTeacher(upstream.url), serving or student(student=""), capture, **settings
            )
            return stack.enter_context(gateway_thread(app)), capture

        yield run


@pytest.fixture
def counts(http):
    return lambda url: json.loads(http("GET", f"{url}/healthz").data)["requests"]


@pytest.fixture
def chat(http):
    def send(url, text="where is it?", headers=None, **fields):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
        path = f"{url}/v1/chat/completions"
        return http("POST", path, json.dumps(body).encode(), headers)

    return send


@pytest.mark.parametrize("name", list(TEXT_APIS))
def test_strict_ends_no_answer_before_its_commit(start, held, upstream, student, name):
    api = APIS[name]
    url, _ = start(held, student(word="refund"), mode="strict", strict_timeout=30.0)
    for form in ("sized", "chunked", "events", "student", "student events"):
        asked = json.dumps({**ASK[name], "stream": "events" in form})
        if "student" in form:
            asked = asked.replace("where is it?", "a refund")
        end = written(upstream, form, api, api.read_request(asked.encode()))
        held.hold()
        before = len(held.exchanges)
        client = Reading(url, api.path, asked.encode())
        assert held.entered.wait(5), form
        assert not client.over.wait(0.1), form
        assert end not in (client.got if form == "chunked" else client.content()), form
        if form == "events" and name != "completions":  # all but the end passes as it comes
            assert b"shipping" in client.content()
        if "student" in form:
            assert client.got == b""
        held.go.set()
        got = client.whole()
        assert got.startswith(b"HTTP/1.1 200")
        if "student" in form:
            assert b"x-openwheel-source: student" in got
            assert b"billing" in got
        else:
            assert end in (got if form == "chunked" else client.content())
        assert len(held.exchanges) == before + 1, form


def test_strict_passes_an_answer_that_is_too_large_to_keep_in_order(
    start, held, upstream, chat, counts
):
    held.go.set()
    url, _ = start(held, mode="strict")
    text = random.Random(0).randbytes(9 << 19).hex().encode()
    body = COMPLETION.replace(b"shipping", text)
    upstream.answers(body)
    assert chat(url).data == body
    half = len(body) // 2
    pieces = upstream.chunked(body[:half]) + upstream.chunked(body[half:]) + b"0\r\n\r\n"
    upstream.writes(HEAD % (b"application/json", b"transfer-encoding: chunked") + pieces)
    assert chat(url).data == body
    assert not held.exchanges
    assert counts(url)["uncaptured"] == 2


@pytest.mark.parametrize("text", ["where is it?", "a refund"])
@pytest.mark.parametrize("stream", [False, True])
def test_strict_waits_no_longer_than_it_may(
    start, held, upstream, student, chat, http, text, stream
):
    api = APIS["chat"]
    request = api.read_request(json.dumps(ASK["chat"]).encode())
    written(upstream, "events" if stream else "sized", api, request)
    url, _ = start(held, student(), mode="strict", strict_timeout=0.1)
    response = chat(url, text, stream=stream)
    assert response.status == 200
    assert b"billing" in response.data or b"shipping" in response.data
    assert not held.exchanges
    assert b"openwheel_answers_strict_late_total 1" in http("GET", f"{url}/metrics").data
    held.go.set()  # what was late is not lost
    assert eventually(lambda: held.exchanges)


class FailingStore(HeldStore):
    def append(self, exchanges):
        raise StoreError("the disk is full")


def test_a_store_that_fails_fails_no_request(start, upstream, chat, counts, http):
    upstream.answers(COMPLETION)
    store = FailingStore()
    url, capture = start(store, mode="strict", strict_timeout=0.1)
    assert chat(url).data == COMPLETION
    assert counts(url)["strict_late"] == 1
    health = json.loads(http("GET", f"{url}/healthz").data)
    assert health["status"] == "degraded"
    assert "disk is full" in health["capture"]["error"]
    assert not capture.close(0.1)


def test_fast_never_waits(start, held, upstream, student, chat):
    upstream.answers(COMPLETION)
    url, capture = start(held, student())
    for text in ("where is it?", "a refund"):
        for _ in range(3):
            assert chat(url, text).status == 200
    assert held.entered.wait(5)
    assert not held.exchanges
    held.go.set()
    assert capture.flush()
    assert len(held.exchanges) == 6


def test_off_keeps_nothing(start, held, upstream, student, chat, counts):
    upstream.answers(COMPLETION)
    held.go.set()
    url, capture = start(held, student(audit_probability=1.0), mode="off")
    assert chat(url).headers["x-openwheel-source"] == "teacher"
    assert chat(url, "a refund").headers["x-openwheel-source"] == "student"
    assert eventually(lambda: counts(url)["audits"] == 1)
    assert capture.flush()
    assert not held.exchanges


@pytest.mark.parametrize(
    ("mode", "sample", "kept"),
    [
        ("fast", {}, True),
        ("fast", {"route": 0.6}, True),
        ("fast", {"route": 0.4}, False),
        ("fast", {"*": 0.4}, False),
        ("fast", {"route": 0.6, "*": 0.0}, True),
        ("fast", {"route": 0.4, "*": 1.0}, False),
        ("fast", {"other": 0.0}, True),
        ("strict", {"*": 0.4}, False),
        ("strict", {"*": 0.6}, True),
    ],
)
def test_a_share_of_a_tasks_exchanges(start, held, upstream, chat, counts, mode, sample, kept):
    upstream.answers(COMPLETION)
    held.go.set()
    url, capture = start(held, mode=mode, sample=sample, rng=lambda: 0.5)
    assert chat(url).status == 200
    assert eventually(lambda: held.exchanges or counts(url)["not_sampled"])
    assert capture.flush()
    assert len(held.exchanges) == kept
    assert counts(url)["not_sampled"] == (not kept)


@pytest.mark.parametrize("probability", [0.9, 1.0])
def test_audits_are_always_kept(start, held, upstream, student, chat, counts, probability):
    upstream.answers(COMPLETION)
    held.go.set()
    serving = student(audit_probability=probability)
    url, capture = start(held, serving, sample={"*": 0.0}, rng=lambda: 0.5)
    assert chat(url, "a refund").headers["x-openwheel-source"] == "student"
    assert eventually(lambda: held.exchanges)
    assert capture.flush()
    assert [(one.source, one.student) for one in held.exchanges] == [("teacher", "student-1")]
    assert counts(url)["not_sampled"] == 1


@pytest.mark.parametrize(("sample", "student_named"), [({}, "student-1"), ({"*": 0.9}, "")])
def test_deferred_requests_are_known_as_such_where_all_are_kept(
    start, held, upstream, student, chat, sample, student_named
):
    """Of a sample, only some would be evidence: then what the audit picked is, and counts alone."""
    upstream.answers(COMPLETION)
    held.go.set()
    serving = student(audit_probability=0.5)
    url, capture = start(held, serving, sample=sample, rng=lambda: 0.7)
    assert chat(url, "a parcel").headers["x-openwheel-source"] == "teacher"
    assert eventually(lambda: held.exchanges)
    assert capture.flush()
    assert [(one.source, one.student) for one in held.exchanges] == [("teacher", student_named)]


def sdk(url, **options):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="x", **options)


def test_an_sdks_second_try_after_a_failure_is_captured(start, held, upstream, counts):
    held.go.set()
    answers = [b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"]
    answers.append(HEAD % (b"application/json", b"content-length: %d" % len(COMPLETION)))
    answers[1] += COMPLETION

    async def script(_, writer):
        writer.write(answers.pop(0))

    upstream.answer = script
    url, capture = start(held)
    with sdk(url, max_retries=1) as client:
        client.chat.completions.create(model="m", messages=[USER])
    assert [one.headers["x-stainless-retry-count"] for one in upstream.received] == ["0", "1"]
    assert eventually(lambda: held.exchanges)
    assert capture.flush()
    assert len(held.exchanges) == 1
    assert capture.stats().repeated == 0


def test_an_answer_that_did_not_reach_its_client_is_captured_once(
    start, held, upstream, counts, http
):
    """The SDK gives up while the answer waits for its commit, and asks again by itself."""
    upstream.answers(COMPLETION)
    url, capture = start(held, mode="strict", strict_timeout=30.0)

    def let_go():
        assert eventually(lambda: counts(url)["cancelled"] == 1)
        held.go.set()

    with ThreadPoolExecutor(1) as pool, sdk(url, max_retries=3, timeout=1.0) as client:
        later = pool.submit(let_go)
        answer = client.chat.completions.create(model="m", messages=[USER])
        later.result()
    assert answer.choices[0].message.content == "shipping"
    assert len(upstream.received) >= 2  # 2, where the machine is not too busy
    assert capture.flush()
    assert len(held.exchanges) == 1
    repeated = capture.stats().repeated
    assert repeated == len(upstream.received) - 1
    assert b"openwheel_capture_repeated_total %d" % repeated in http("GET", f"{url}/metrics").data


def test_equal_requests_that_are_no_second_tries_are_all_captured(start, held, upstream, chat):
    upstream.answers(COMPLETION)
    held.go.set()
    url, capture = start(held)
    for headers in ({}, {}, {"x-stainless-retry-count": "0"}):
        chat(url, headers=headers)
    assert eventually(lambda: len(held.exchanges) == 3)
    chat(url, headers={"x-stainless-retry-count": "1"})
    chat(url, "another", headers={"x-stainless-retry-count": "1"})
    assert eventually(lambda: len(held.exchanges) == 4)
    assert capture.flush()
    assert len(held.exchanges) == 4
    assert capture.stats().repeated == 1


def test_a_second_try_that_comes_to_another_worker_is_found(start, upstream, chat, tmp_path):
    upstream.answers(COMPLETION)
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(Store.open(tmp_path / "x.db")) for _ in range(2)]
        (first, one), (second, other) = (start(store) for store in stores)
        chat(first, headers={"x-stainless-retry-count": "0"})
        assert eventually(lambda: stores[1].count() == 1)
        chat(second, headers={"x-stainless-retry-count": "1"})
        assert eventually(lambda: other.stats().repeated == 1)
        chat(second)
        assert eventually(lambda: stores[0].count() == 2)
        assert one.flush()
        assert other.flush()
        assert one.stats().repeated == 0
        assert stores[0].count() == 2
        one.close()
        other.close()


def exchange(number, text="yes", **fields):
    request = b'{"n":%d}' % number
    return Exchange(
        id=f"{number} {random.random()}",
        time=time.time(),
        request=request,
        answer=Answer(text),
        source="teacher",
        **fields,
    )


def test_a_second_try_in_the_same_batch_is_found(held):
    capture = CaptureWriter(held)
    capture.put(exchange(0))
    assert held.entered.wait(5)
    capture.put(exchange(1))  # these wait for one another
    capture.put(exchange(1), is_retry=True)
    capture.put(exchange(1, key="somebody else's"), is_retry=True)
    held.go.set()
    assert capture.flush()
    assert [one.request for one in held.exchanges] == [b'{"n":0}', b'{"n":1}', b'{"n":1}']
    assert capture.stats().repeated == 1
    assert capture.close()


def test_what_no_store_can_hold_holds_up_nothing_else(tmp_path, caplog):
    settled = []
    with Store.open(tmp_path / "x.db") as store:
        capture = CaptureWriter(store, linger=0.2)
        for number, text in enumerate(["yes", "lone \ud800 surrogate", "no"]):
            capture.put(exchange(number, text), lambda number=number: settled.append(number))
        assert not capture.flush()  # one of them is lost
        capture.put(exchange(4))
        assert capture.flush()
        assert [one.answer.text for _, one in store.exchanges()] == ["yes", "no", "yes"]
        stats = capture.stats()
        assert (stats.written, stats.dropped, stats.failed, stats.error) == (3, 1, 0, "")
        assert sorted(settled) == [0, 1, 2]
        assert "cannot be stored and is lost" in caplog.text
        capture.close()


@pytest.fixture
def small_memory(upstream, student):
    """Serve chat completions by a gateway whose answers under way may hold 2,000 bytes."""
    with contextlib.ExitStack() as stack:
        store = HeldStore()
        store.go.set()
        capture = CaptureWriter(store)
        stack.callback(capture.close)
        meter, guard = Meter(), Guard(None)
        teacher = PatientTeacher(HttpTeacher(upstream.url), meter)
        recorder = Recorder(capture, meter, guard)
        slow = stack.enter_context(ThreadPoolExecutor(1))
        state = GatewayState(
            teacher=teacher,
            serving=student(student=""),
            guard=guard,
            recorder=recorder,
            audits=Audits(teacher, meter, recorder),
            meter=meter,
            taps=TapMemory(most=2_000),
            slow=slow,
            remote=slow,
            reading=slow,
            rng=random.random,
            settings=GatewaySection(),
        )

        @contextlib.asynccontextmanager
        async def lifespan(_):
            yield
            await teacher.close()

        api = APIS["chat"]
        app = Router([Route(api.path, Completions(api, state))], lifespan=lifespan)
        url = stack.enter_context(gateway_thread(app))
        yield url, state, capture, store


def test_answers_under_way_hold_only_so_much_memory(small_memory, upstream):
    url, state, capture, store = small_memory
    api = APIS["chat"]
    go_on = threading.Event()
    texts = ["a" * 1_300, "b" * 1_300]

    async def script(received, writer):
        text = texts[b"second" in received.body]
        body = api.body(text, api.read_request(received.body))
        writer.write(HEAD % (b"application/json", b"content-length: %d" % len(body)))
        writer.write(body[:1_200])
        await writer.drain()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        writer.write(body[1_200:])

    upstream.answer = script
    clients = []
    for text in ("first", "second"):
        asked = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
        clients.append(Reading(url, api.path, asked.encode()))
        assert eventually(lambda: clients[-1].got.count(b"{") and len(clients[-1].got) > 1_200)
    assert 1_200 <= state.taps.held < 2_000
    go_on.set()
    for client, text in zip(clients, texts, strict=True):
        assert text.encode() in client.whole()
    assert eventually(lambda: store.exchanges)
    assert capture.flush()
    assert [one.answer.text for one in store.exchanges] == texts[:1]
    assert eventually(lambda: state.meter.uncaptured == 1)
    assert eventually(lambda: state.taps.held == 0)


@pytest.mark.parametrize("mode", ["fast", "strict"])
@pytest.mark.parametrize("queue", [{"max_queued": 2}, {"max_bytes": 1_500}])
def test_a_full_queue_costs_exchanges_and_no_request(
    start, held, upstream, chat, counts, mode, queue
):
    upstream.answers(COMPLETION)
    url, capture = start(held, mode=mode, queue=queue, strict_timeout=0.1)
    for _ in range(5):
        assert chat(url).data == COMPLETION
    assert eventually(lambda: capture.stats().dropped == 3)
    assert capture.stats().queued == 2
    # What is dropped is settled, so nobody waits for it.
    assert counts(url)["strict_late"] == (2 if mode == "strict" else 0)
    held.go.set()
    assert capture.flush()
    assert len(held.exchanges) == 2
