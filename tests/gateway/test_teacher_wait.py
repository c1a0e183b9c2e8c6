"""Requests that wait for a teacher that is being restarted: who, how long, and how it ends."""

import asyncio
import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import anthropic
import openai
import pytest

from gateway.apis import PATHS, request_of
from gateway.making import make_app
from openwheel.gateway import gateway_thread
from openwheel.gateway.meter import Meter
from openwheel.gateway.patient_teacher import PatientTeacher
from openwheel.loop.serving import Decision
from openwheel.teachers import (
    HttpTeacher,
    Member,
    TeacherNotReachedError,
    TeacherPool,
    TeacherRequest,
)
from teacher import Teacher, says

LONG = 300.0
SAID = [{"role": "user", "content": "where is it?"}]
CHAT = PATHS["chat"]
LOADING = b"HTTP/1.1 503 Loading\r\ncontent-length: 2\r\n%s\r\n{}"
REPLY = b'{"choices":[{"index":0,"message":{"content":"yes"},"finish_reason":"stop"}]}'
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(REPLY), REPLY)


@pytest.fixture
def teacher():
    with Teacher(says("shipping")) as teacher:
        teacher.down()
        yield teacher


@pytest.fixture
def report(http):
    def report(running):
        return json.loads(http("GET", f"{running.url}/healthz").data)

    return report


@pytest.fixture
def until(report):
    """Wait until a gateway's report is as told."""

    def wait(running, is_so):
        deadline = time.monotonic() + 20
        while not is_so(report(running)):
            assert time.monotonic() < deadline, report(running)
            time.sleep(0.01)

    return wait


@contextlib.contextmanager
def meanwhile(work):
    """Run something in a thread; yield its future."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(work)


def open_ai(running, **settings):
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0, **settings)


def chat(running, *, stream):
    with open_ai(running) as client:
        found = client.chat.completions.create(model="m", messages=SAID, stream=stream)
        if not stream:
            return found.choices[0].message.content
        with found:
            return "".join(one.choices[0].delta.content or "" for one in found if one.choices)


def messages(running, *, stream):
    with anthropic.Anthropic(base_url=running.url, api_key="x", max_retries=0) as client:
        if not stream:
            return client.messages.create(model="m", messages=SAID, max_tokens=9).content[0].text
        with client.messages.stream(model="m", messages=SAID, max_tokens=9) as found:
            return "".join(found.text_stream)


@pytest.mark.parametrize("ask", [chat, messages])
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_waits_for_a_teacher_that_comes_back(
    gateway, teacher, until, report, ask, stream
):
    running = gateway(HttpTeacher(teacher.url), teacher_wait=LONG)
    with meanwhile(lambda: ask(running, stream=stream)) as asked:
        until(running, lambda said: said["waiting"] == 1)
        assert report(running)["teacher_down"]["models"] == ["m"]
        teacher.up()
        assert asked.result() == "shipping"
    assert len(teacher.received) == 1
    [exchange] = running.exchanges(1)
    assert (exchange.source, exchange.unbiased) == ("teacher", True)
    said = report(running)
    assert (said["waiting"], said["requests"]["waited"], said["teacher_down"]) == (0, 1, None)
    assert said["requests"]["teacher_errors"] == 0


def test_other_paths_wait_too_and_all_are_answered_when_it_is_back(gateway, teacher, http, until):
    running = gateway(HttpTeacher(teacher.url), teacher_wait=LONG)
    with ThreadPoolExecutor(20) as threads:
        asked = [
            threads.submit(http, "POST", running.url + CHAT, request_of("chat", f"{n}"))
            for n in range(20)
        ]
        until(running, lambda said: said["waiting"] == 20)
        teacher.up()
        assert {one.result().status for one in asked} == {200}
    assert len(teacher.received) == 20
    running.exchanges(20)


def test_when_the_wait_is_over_the_sdks_raise_what_they_raise_for_a_server_that_is_down(
    gateway, teacher, report
):
    running = gateway(HttpTeacher(teacher.url), teacher_wait=0.3)
    with pytest.raises(openai.InternalServerError) as caught:
        chat(running, stream=True)
    assert (caught.value.status_code, caught.value.code) == (502, "teacher_unreachable")
    assert caught.value.response.headers["retry-after"] == "1"
    with pytest.raises(anthropic.InternalServerError) as other:
        messages(running, stream=False)
    assert other.value.response.headers["retry-after"] == "1"
    said = report(running)
    assert (said["waiting"], said["requests"]["waited"]) == (0, 2)
    assert said["requests"]["teacher_errors"] == 2
    attempts_by_sdk = 3
    with (
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=2) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model="m", messages=SAID)
    assert report(running)["requests"]["waited"] == 2 + attempts_by_sdk


def test_a_503_is_waited_out_and_its_retry_after_kept_to(gateway, upstream, http):
    async def script(_, writer):
        loading = len(upstream.received) < 3
        writer.write(LOADING % b"retry-after-ms: 20\r\n" if loading else WHOLE)

    upstream.answer = script
    running = gateway(teacher_wait=LONG)
    assert http("POST", running.url + CHAT, request_of("chat", "x")).status == 200
    assert len(upstream.received) == 3
    upstream.writes(LOADING % b"retry-after: 3600\r\n")
    response = http("POST", running.url + CHAT, request_of("chat", "x"))
    assert (response.status, response.headers["retry-after"]) == (503, "3600")
    assert len(upstream.received) == 4


@pytest.mark.parametrize("status", [500, 502, 504, 529, 429])
def test_a_request_that_may_have_been_begun_is_never_sent_again(gateway, upstream, http, status):
    upstream.answers(b"{}", status=f"{status} No")
    running = gateway(teacher_wait=LONG)
    assert http("POST", running.url + CHAT, request_of("chat", "x")).status == status
    assert len(upstream.received) == 1


def test_nor_one_whose_connection_broke(gateway, upstream, http):
    upstream.writes(b"", close=True)
    running = gateway(teacher_wait=LONG)
    assert http("POST", running.url + CHAT, request_of("chat", "x")).status == 502
    assert len(upstream.received) == 1


def test_with_several_teachers_nobody_is_asked_again_that_may_be_at_work(
    gateway, upstream, teacher, http
):
    upstream.writes(b"", close=True)
    members = [Member(HttpTeacher(upstream.url), "broken"), Member(HttpTeacher(teacher.url), "off")]
    running = gateway(TeacherPool(members), teacher_wait=LONG)
    assert http("POST", running.url + CHAT, request_of("chat", "x")).status == 502
    assert len(upstream.received) == 1


def test_nor_where_the_last_of_them_is_only_loading(gateway, upstream, http):
    async def script(_, writer):
        if len(upstream.received) > 1:
            writer.write(LOADING % b"")
        else:
            writer.close()

    upstream.answer = script
    members = [Member(HttpTeacher(upstream.url), name) for name in ("one", "two")]
    running = gateway(TeacherPool(members), teacher_wait=LONG)
    assert http("POST", running.url + CHAT, request_of("chat", "x")).status == 503
    assert len(upstream.received) == 2


def test_either_of_several_teachers_ends_the_wait_though_both_rest(gateway, teacher, http, until):
    with Teacher(says("billing")) as second:
        second.down()
        both = {"one": teacher, "two": second}
        pool = TeacherPool([Member(HttpTeacher(one.url), name) for name, one in both.items()])
        running = gateway(pool, teacher_wait=LONG, teachers=pool.health)
        body = request_of("chat", "x")
        with meanwhile(lambda: http("POST", running.url + CHAT, body)) as asked:
            until(running, lambda said: all(one["resting_s"] > 0 for one in said["teachers"]))
            second.up()
            assert asked.result().status == 200
        assert (len(teacher.received), len(second.received)) == (0, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_waits_no_longer(gateway, teacher, until, report, stream):
    running = gateway(HttpTeacher(teacher.url), teacher_wait=LONG)
    body = request_of("chat", "x", stream=stream)
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as client:
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        client.sendall(head % (CHAT.encode(), len(body)) + body)
        until(running, lambda said: said["waiting"] == 1)
    until(running, lambda said: said["waiting"] == 0)
    assert report(running)["requests"]["cancelled"] == 1
    teacher.up()
    assert chat(running, stream=False) == "shipping"
    assert len(teacher.received) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_gateway_that_stops_lets_nothing_wait(teacher, stream, student, until):
    app = make_app(HttpTeacher(teacher.url), student(student=""), teacher_wait=LONG)
    with contextlib.ExitStack() as stack:
        running = SimpleNamespace(url=stack.enter_context(gateway_thread(app)))
        with meanwhile(lambda: chat(running, stream=stream)) as asked:
            until(running, lambda said: said["waiting"] == 1)
            stack.close()
            with pytest.raises(openai.InternalServerError) as caught:
                asked.result()
            assert caught.value.status_code == 502


def test_best_effort_comes_after_the_wait_and_a_certified_answer_before(
    gateway, teacher, student, http, report
):
    serving = student(canary=0.2, audit_probability=0.84, below_threshold_answer="account")
    running = gateway(
        HttpTeacher(teacher.url),
        serving,
        rng=lambda: 0.1,
        teacher_wait=0.2,
        best_effort={"*": True},
    )
    response = http("POST", running.url + CHAT, request_of("chat", "a refund please"))
    assert response.headers["x-openwheel-source"] == "student"
    assert report(running)["requests"]["waited"] == 0
    response = http("POST", running.url + CHAT, request_of("chat", "where is it?"))
    assert response.headers["x-openwheel-source"] == "best-effort"
    assert report(running)["requests"]["waited"] == 1


def test_a_student_that_was_demoted_during_the_wait_does_not_answer(
    gateway, teacher, student, http, until
):
    serving = student(below_threshold_answer="account")
    running = gateway(HttpTeacher(teacher.url), serving, teacher_wait=1.5, best_effort={"*": True})
    body = request_of("chat", "where is it?")
    with meanwhile(lambda: http("POST", running.url + CHAT, body)) as asked:
        until(running, lambda said: said["waiting"] == 1)
        serving.student = ""
        assert asked.result().status == 502
    running.exchanges(0)


def test_one_that_was_promoted_during_the_wait_answers(gateway, teacher, student, http, until):
    class Late:
        def __init__(self):
            self.answer = None

        def refresh(self):
            return False

        def decide(self, request, task="", key=""):
            if self.answer is None:
                return Decision(task="route", reason="no student")
            return Decision(self.answer, "route", "student-2", 0.99, 0.05)

    serving = Late()
    running = gateway(HttpTeacher(teacher.url), serving, teacher_wait=1.5)
    body = request_of("chat", "where is it?")
    with meanwhile(lambda: http("POST", running.url + CHAT, body)) as asked:
        until(running, lambda said: said["waiting"] == 1)
        serving.answer = "billing"
        assert asked.result().headers["x-openwheel-source"] == "student"
    [exchange] = running.exchanges(1)
    assert (exchange.source, exchange.student) == ("student", "student-2")
    assert exchange.unbiased is False


def test_only_so_many_wait_and_hold_so_many_bytes(teacher):
    async def main():
        meter = Meter()
        real = HttpTeacher(teacher.url)
        patient = PatientTeacher(real, meter, wait=LONG, most=2, most_bytes=100)

        def ask(size):
            return asyncio.create_task(
                patient.send_patiently(TeacherRequest("POST", CHAT, [], b"x" * size, "m"))
            )

        first = ask(60)
        while patient.waiting < 1:
            await asyncio.sleep(0.01)
        with pytest.raises(TeacherNotReachedError):
            await ask(41)
        second = ask(40)
        while patient.waiting < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(TeacherNotReachedError):
            await ask(0)
        assert (meter.waited, meter.not_waited) == (2, 2)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        assert patient.waiting == 1
        patient.stop()
        with pytest.raises(TeacherNotReachedError):
            await second
        with pytest.raises(TeacherNotReachedError):
            await ask(0)
        assert (patient.waiting, meter.waited) == (0, 2)
        await patient.close()

    asyncio.run(main())


def test_an_outage_is_remembered_by_model_for_a_minute(teacher):
    async def main():
        now = [0.0]
        patient = PatientTeacher(HttpTeacher(teacher.url), Meter(), clock=lambda: now[0])
        assert patient.outage() is None
        for model, at in (("a", 0.0), ("b", 30.0)):
            now[0] = at
            with pytest.raises(TeacherNotReachedError):
                await patient.send(TeacherRequest("POST", CHAT, [], b"{}", model))
        found = patient.outage()
        assert (found.models, found.seconds) == (("a", "b"), 30.0)
        assert "could not be reached" in found.error
        now[0] = 61.0
        assert patient.outage().models == ("b",)
        teacher.up()
        body = request_of("chat", "x")
        response = await patient.send(TeacherRequest("POST", CHAT, [(b"host", b"x")], body, "b"))
        response.close()
        assert patient.outage() is None
        await patient.close()

    asyncio.run(main())
