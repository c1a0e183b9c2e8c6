"""Teachers, stores, disks and students that fail while requests come in: none is to fail for it.

A real store, real teachers on loopback; see `test_failures` for what a single answer looks like.
"""

import asyncio
import contextlib
import gzip
import json
import logging
import os
import sqlite3
import threading
import time
from http.client import IncompleteRead

import pytest

from gateway.making import make_app
from made_up import tickets, write_log
from openwheel.gateway import CaptureWriter, gateway_thread
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.teachers import HttpTeacher, Member, TeacherPool
from teacher import Teacher, respond

COMPLETION = b'{"choices":[{"index":0,"message":{"content":"yes"},"finish_reason":"stop"}]}'
PACKED = gzip.compress(COMPLETION, mtime=0)  # of one time, so that it is one parameter
PART = b'data: {"choices":[{"index":0,"delta":{"content":"hal"},"finish_reason":null}]}\n\n'


def body_of(text, **more):
    return json.dumps({"messages": [{"role": "user", "content": text}], **more}).encode()


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "openwheel.db", busy_seconds=0.1) as opened:
        yield opened


class Served:
    """A gateway on a real store."""

    def __init__(self, url, store, capture, http):
        self.url = url
        self.store = store
        self.capture = capture
        self._http = http

    def ask(self, text="hello", **more):
        return self._http("POST", f"{self.url}/v1/chat/completions", body_of(text, **more))

    def health(self):
        return json.loads(self._http("GET", f"{self.url}/healthz").data)

    def wait_for(self, done):
        deadline = time.monotonic() + 10
        while not done(report := self.health()):
            assert time.monotonic() < deadline, report
            time.sleep(0.02)
        return report

    def texts(self):
        """Return the texts of all requests that are stored, once all were written."""
        assert self.capture.flush(10)
        return [
            json.loads(one.request)["messages"][0]["content"] for _, one in self.store.exchanges()
        ]


@pytest.fixture
def serve(upstream, student, http):
    with contextlib.ExitStack() as stack:

        def start(store, teacher=None, serving=None, **settings):
            capture = CaptureWriter(store)
            stack.callback(capture.close, 1.0)
            teacher = teacher or HttpTeacher(upstream.url, read_timeout=5)
            app = make_app(teacher, serving or student(student=""), capture, **settings)
            return Served(stack.enter_context(gateway_thread(app)), store, capture, http)

        yield start


@contextlib.contextmanager
def asking(served, *, clients=4):
    """Ask from several threads all the time; give the texts and statuses as they come."""
    over, answered = threading.Event(), []

    def run(client):
        asked = 0
        while not over.is_set():
            text = f"{client} asks {asked}"
            answered.append((text, served.ask(text).status))
            asked += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_locked_store_fails_no_request_and_loses_nothing(serve, store, upstream):
    upstream.answers(COMPLETION)
    served = serve(store)
    with asking(served) as answered:
        served.wait_for(lambda report: report["capture"]["written"])
        with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            report = served.wait_for(lambda report: report["capture"]["error"])
            assert report["status"] == "degraded"
            assert "is locked" in report["capture"]["error"]
            before = len(answered)
            while len(answered) < before + 20:
                time.sleep(0.01)
            assert served.health()["capture"]["queued"] >= 20
            other.execute("ROLLBACK")
        served.wait_for(lambda report: report["status"] == "ok")
    assert {status for _, status in answered} == {200}
    assert sorted(served.texts()) == sorted(text for text, _ in answered)


def test_a_full_disk_fails_no_request_and_loses_nothing(serve, upstream, tmp_path):
    upstream.answers(COMPLETION)
    room = tmp_path / "small"
    room.mkdir()
    if os.system(f"mount -t tmpfs -o size=3m tmpfs {room} 2>/dev/null") != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        with Store.open(room / "openwheel.db") as store:
            served = serve(store)
            assert served.ask("first").status == 200
            assert served.texts() == ["first"]
            ballast = room / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            asked = [f"{n} {'x' * 50_000}" for n in range(10)]
            assert {served.ask(text).status for text in asked} == {200}
            report = served.wait_for(lambda report: report["capture"]["error"])
            assert report["status"] == "degraded"
            assert "disk" in report["capture"]["error"]
            ballast.unlink()
            served.wait_for(lambda report: report["status"] == "ok")
            assert served.texts() == ["first", *asked]
            served.capture.close()
    finally:
        os.system(f"umount {room}")


def test_strict_capture_waits_for_a_locked_store_only_so_long(serve, store, upstream):
    upstream.answers(COMPLETION)
    served = serve(store, mode="strict", strict_timeout=0.5)
    assert served.ask("first").status == 200
    assert store.count() == 1  # without waiting: it was committed before its end was told
    with contextlib.closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        response = served.ask("second")
        assert (response.status, response.data) == (200, COMPLETION)
        assert store.count() == 1
        assert served.health()["requests"]["strict_late"] == 1
        other.execute("ROLLBACK")
    assert served.texts() == ["first", "second"]
    assert served.ask("third").status == 200
    assert store.count() == 3
    assert served.health()["requests"]["strict_late"] == 1


def test_a_student_whose_file_is_damaged_leaves_its_task_to_the_teacher(
    serve, store, upstream, tmp_path, caplog
):
    upstream.answers(COMPLETION)
    log = write_log(tmp_path / "log.jsonl", tickets(1_200))
    store.append(list(read_log(log, in_order=True, problems=LogProblems())))
    learn(store, LoopSettings(), source="made up")
    registry = Registry(store)
    (student,) = RegistryServing(registry).students().values()
    easy = "invoice payment refund tax amount 4711"
    well = serve(store, serving=RegistryServing(registry))
    assert well.ask(easy).headers["x-openwheel-source"] == "student"

    file = registry.files.folder(student) / "arrays.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with caplog.at_level(logging.ERROR):
        serving = RegistryServing(registry)
        served = serve(store, serving=serving, students=serving.students)
        response = served.ask(easy)
    assert (response.status, response.data) == (200, COMPLETION)
    assert response.headers["x-openwheel-source"] == "teacher"
    assert served.health()["students"] == {}
    assert "arrays.safetensors was changed" in caplog.text
    # The student that is loaded already is whole, and goes on.
    assert well.ask(easy).headers["x-openwheel-source"] == "student"


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b"<html>Bad gateway</html>", "content-type: text/html"),
        (b'{"choices":', "content-type: application/json"),
        (b"[]", "content-type: application/json"),
        (b'{"choices":[]}', "content-type: application/json"),
        (b'{"choices":[{"message":{"content":5}}]}', "content-type: application/json"),
        (b"\xff\xfe\x00", "content-type: application/json"),
        (b"", "content-type: application/json"),
        (PACKED, "content-type: application/json\r\ncontent-encoding: gzip"),
        (PACKED[:-9], "content-encoding: gzip"),
    ],
)
def test_what_cannot_be_read_passes_as_it_came_and_is_not_captured(
    serve, store, upstream, body, head
):
    upstream.answers(body, head=head)
    served = serve(store)
    response = served.ask()
    assert (response.status, response.data) == (200, body)
    for line in head.split("\r\n"):
        name, value = line.split(": ")
        assert response.headers[name] == value
    assert served.health()["requests"]["uncaptured"] == 1
    assert served.texts() == []


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"?\r\n\r\n"])
def test_a_teacher_that_recovers_is_asked_again(serve, store, upstream, answer):
    """Its connections that broke are not used again."""
    served = serve(store)
    for _ in range(5):
        upstream.writes(answer, close=True)
        with contextlib.suppress(IncompleteRead):
            assert served.ask("fails").status == 502
        upstream.answers(COMPLETION)
        assert served.ask("works").data == COMPLETION
    report = served.health()
    assert report["requests"]["teacher_errors"] == 5
    assert report["status"] == "ok"
    assert served.texts() == ["works"] * 5


def test_a_teacher_that_stops_in_the_middle_of_a_stream(serve, store, upstream):
    async def stops(_, writer):
        writer.write(upstream.stream_head + upstream.chunked(PART))
        await asyncio.sleep(30)

    upstream.answer = stops
    served = serve(store, HttpTeacher(upstream.url, read_timeout=0.3))
    with pytest.raises(IncompleteRead):
        served.ask(stream=True)
    assert served.health()["requests"]["teacher_errors"] == 1
    assert served.texts() == []


BUSY = respond(b'{"error":{"message":"Slow down"}}', "retry-after: 1", status="429 Slow")


@pytest.fixture
def busy():
    """Make a teacher of which too much is asked, until it is told otherwise."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Teacher(BUSY))


def test_a_storm_of_429_passes_on_and_ends(serve, store, busy):
    one, two = busy(), busy()
    pool = TeacherPool([Member(HttpTeacher(one.url), "one"), Member(HttpTeacher(two.url), "two")])
    served = serve(store, pool, teachers=pool.health)
    with asking(served) as answered:
        while len(answered) < 40:
            time.sleep(0.01)
        report = served.wait_for(lambda report: report["status"] == "degraded")
        assert all(teacher["resting_s"] > 0 for teacher in report["teachers"])
    assert {status for _, status in answered} == {429}
    response = served.ask()
    assert (response.status, response.headers["retry-after"]) == (429, "1")
    assert b"Slow down" in response.data
    # Each request went to both and no more often.
    assert len(one.received) == len(two.received) == len(answered) + 1

    two.answers(COMPLETION)
    with asking(served) as answered:
        while len(answered) < 40:
            time.sleep(0.01)
    assert {status for _, status in answered} == {200}
    assert served.health()["status"] == "ok"
    assert sorted(served.texts()) == sorted(text for text, _ in answered)


def test_one_teacher_is_dead_and_one_busy(serve, store, busy):
    """What there is of an answer is passed on."""
    one = busy()
    pool = TeacherPool(
        [Member(HttpTeacher("http://127.0.0.1:9/v1"), "dead"), Member(HttpTeacher(one.url), "busy")]
    )
    served = serve(store, pool, teachers=pool.health)
    assert {served.ask(f"{n}").status for n in range(10)} == {429}
    one.answers(COMPLETION)
    assert {served.ask(f"{n}").status for n in range(10)} == {200}
    assert sorted(served.texts()) == sorted(f"{n}" for n in range(10))
