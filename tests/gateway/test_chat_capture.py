"""What is captured, and the audit coin."""

import contextlib
import json
import re
import threading
import time

import pytest

from openwheel.errors import StudentFileError
from openwheel.gateway import CaptureWriter, create_app, gateway_thread
from openwheel.loop.serving import Decision
from openwheel.store import Store
from openwheel.wire import Answer, Usage

COMPLETION = (
    b'{"model":"m-1","system_fingerprint":"fp_1","choices":[{"index":0,"message":{"content":"shipping"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
)


def ask(http, running, text, headers=None, **fields):
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return http(
        "POST",
        f"{running.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", **(headers or {})},
    )


@pytest.fixture(autouse=True)
def answer(upstream):
    upstream.answers(COMPLETION)


def test_teacher_before_promotion(gateway, http):
    running = gateway(rng=lambda: 0.999)
    before = time.time()
    response = ask(http, running, "where is it?", {"x-openwheel-task": "mine"})
    [exchange] = running.exchanges(1)
    assert json.loads(exchange.request)["messages"][0]["content"] == "where is it?"
    assert exchange.answer == Answer("shipping")
    assert (exchange.source, exchange.model, exchange.task) == ("teacher", "m-1", "mine")
    assert exchange.usage == Usage(9, 1)
    assert exchange.fingerprint == "fp_1"
    assert exchange.unbiased
    assert exchange.audit_probability == 1.0
    assert (exchange.student, exchange.student_answer, exchange.confidence) == ("", None, None)
    assert before <= exchange.time <= time.time()
    assert 0 < exchange.latency_ms < 5000
    assert response.headers["x-openwheel-task"] == "route"
    assert "x-openwheel-confidence" not in response.headers
    assert running.serving.asked[0][1] == "mine"


def test_task_named_in_metadata(gateway, http):
    running = gateway()
    ask(http, running, "x", metadata={"openwheel_task": "from metadata"})
    assert running.exchanges(1)[0].task == "from metadata"


@pytest.mark.parametrize(("draw", "unbiased"), [(0.09, True), (0.11, False)])
def test_deferred_request(gateway, http, student, draw, unbiased):
    running = gateway(None, student(audit_probability=0.1), rng=lambda: draw)
    response = ask(http, running, "where is it?")
    [exchange] = running.exchanges(1)
    assert (exchange.source, exchange.unbiased) == ("teacher", unbiased)
    assert exchange.audit_probability == 0.1
    assert exchange.confidence == 0.25
    assert (exchange.student, exchange.student_answer) == ("student-1", None)
    assert response.headers["x-openwheel-source"] == "teacher"
    assert response.headers["x-openwheel-confidence"] == "0.2500"


def test_student_without_audit(gateway, http, student, upstream):
    running = gateway(None, student(audit_probability=0.1), rng=lambda: 0.1)
    response = ask(http, running, "a refund please")
    assert json.loads(response.data)["choices"][0]["message"]["content"] == "billing"
    [exchange] = running.exchanges(1)
    assert (exchange.source, exchange.student, exchange.model) == (
        "student",
        "student-1",
        "student-1",
    )
    assert exchange.answer == Answer("billing")
    assert not exchange.unbiased
    assert not upstream.received


@pytest.mark.parametrize("stream", [False, True])
def test_student_with_audit(gateway, http, student, upstream, stream):
    running = gateway(None, student(audit_probability=0.1), rng=lambda: 0.0)
    extra = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    response = ask(http, running, "a refund please", {"x-mine": "1"}, seed=2**63 + 1, **extra)
    assert response.headers["x-openwheel-source"] == "student"
    answered, audit = sorted(running.exchanges(2), key=lambda one: one.source)
    assert (answered.source, answered.unbiased) == ("student", False)
    assert (audit.source, audit.unbiased, audit.audit_probability) == ("teacher", True, 0.1)
    assert audit.answer == Answer("shipping")
    assert (audit.student, audit.student_answer) == ("student-1", "billing")
    assert audit.confidence == 0.987654
    assert audit.id == f"{answered.id}-audit"
    assert audit.request == answered.request
    [received] = upstream.received
    asked = json.loads(received.body)
    assert "stream" not in asked
    assert "stream_options" not in asked
    assert asked["seed"] == 2**63 + 1
    assert received.headers["x-mine"] == "1"


@pytest.mark.parametrize(("draw", "source"), [(0.69, "teacher"), (0.71, "student")])
def test_what_the_canary_holds_back_is_the_teachers_and_an_audit(
    gateway, http, student, upstream, draw, source
):
    running = gateway(None, student(audit_probability=0.73, canary=0.3), rng=lambda: draw)
    response = ask(http, running, "a refund please")
    assert response.headers["x-openwheel-source"] == source
    kept = running.exchanges(1 if source == "teacher" else 2)
    [audit] = [exchange for exchange in kept if exchange.source == "teacher"]
    assert (audit.unbiased, audit.audit_probability) == (True, 0.73)
    assert (audit.student, audit.student_answer) == ("student-1", "billing")
    assert audit.answer == Answer("shipping")
    assert audit.id.endswith("-audit") == (source == "student")
    assert len(upstream.received) == 1


def test_what_is_held_back_and_unsure_is_no_audit(gateway, http, student):
    running = gateway(None, student(audit_probability=0.73, canary=0.3), rng=lambda: 0.1)
    assert ask(http, running, "where is it?").headers["x-openwheel-source"] == "teacher"
    [exchange] = running.exchanges(1)
    assert exchange.unbiased
    assert (exchange.student, exchange.student_answer) == ("student-1", None)


def test_what_the_student_would_have_said_is_kept_and_is_no_audit(gateway, http, student):
    running = gateway(
        None, student(below_threshold_answer="account", audit_probability=0.1), rng=lambda: 0.0
    )
    ask(http, running, "where is it?")
    [exchange] = running.exchanges(1)
    assert exchange.unbiased
    assert exchange.student_guess == "account"
    assert (exchange.student, exchange.student_answer) == ("student-1", None)
    ask(http, running, "a refund please")
    assert [one.student_guess for one in running.exchanges(3)[1:]] == [None, None]


@pytest.mark.parametrize("status", [400, 413, 414, 415, 422, 451])
def test_an_audit_that_the_teacher_rejects_is_an_audit(gateway, http, student, upstream, status):
    upstream.answers(b'{"error": {"message": "content policy"}}', status=f"{status} No")
    running = gateway(None, student(audit_probability=1.0))
    assert ask(http, running, "a refund please").status == 200
    answered, audit = sorted(running.exchanges(2), key=lambda one: one.source)
    assert audit.id == f"{answered.id}-audit"
    assert audit.answer == Answer("", (), "rejected")
    assert not audit.answer.complete
    assert (audit.student, audit.student_answer) == ("student-1", "billing")
    assert audit.unbiased
    assert (audit.model, audit.usage) == ("", Usage(0, 0))
    counts = json.loads(http("GET", f"{running.url}/healthz").data)["requests"]
    assert (counts["audits"], counts["audits_failed"]) == (1, 0)


@pytest.mark.parametrize("strict", [False, True])
def test_a_request_that_the_teacher_rejects_is_kept_and_costs_nothing(
    gateway, http, student, upstream, strict
):
    body = b'{"error": {"message": "content policy"}}'
    upstream.answers(body, status="400 Bad Request")
    mode = "strict" if strict else "fast"
    running = gateway(None, student(below_threshold_answer="account"), mode=mode)
    response = ask(http, running, "where is it?")
    assert (response.status, response.data) == (400, body)
    [exchange] = running.exchanges(1)
    assert exchange.answer == Answer("", (), "rejected")
    assert (exchange.source, exchange.student_guess) == ("teacher", "account")
    assert exchange.usage == Usage(0, 0)
    page = http("GET", f"{running.url}/metrics").data.decode()
    assert not re.search(r"^openwheel_teacher_tokens_total\S* [1-9]", page, re.MULTILINE)


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 425, 429, 500, 503])
def test_an_outage_says_nothing_of_a_request(gateway, http, student, upstream, status):
    upstream.answers(b"{}", status=f"{status} No")
    running = gateway(None, student(audit_probability=1.0))
    ask(http, running, "a refund please")
    assert ask(http, running, "where is it?").status == status
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if json.loads(http("GET", f"{running.url}/healthz").data)["requests"]["audits_failed"]:
            break
    assert [one.source for one in running.exchanges(1)] == ["student"]


def test_an_endless_answer_to_an_audit_is_not_read_to_its_end(gateway, http, student, upstream):
    ended = threading.Event()

    async def endless(_, writer):
        writer.write(upstream.stream_head)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(upstream.chunked(b" " * (1 << 20)))
                await writer.drain()
        ended.set()

    upstream.answer = endless
    running = gateway(None, student(audit_probability=1.0))
    assert ask(http, running, "a refund please").headers["x-openwheel-source"] == "student"
    assert ended.wait(10)
    assert [one.source for one in running.exchanges(1)] == ["student"]
    counts = json.loads(http("GET", f"{running.url}/healthz").data)["requests"]
    assert counts["audits_failed"] == 1


def test_failed_audit_is_counted(gateway, http, student, upstream):
    upstream.answers(b"{}", status="500 Oh")
    running = gateway(None, student(audit_probability=1.0))
    assert ask(http, running, "a refund please").status == 200
    running.exchanges(1)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        counts = json.loads(http("GET", f"{running.url}/healthz").data)["requests"]
        if counts["audits_failed"]:
            break
    assert counts["audits_failed"] == 1
    assert counts["audits"] == 0
    assert counts["student"] == 1


def test_audits_under_way_are_finished_before_the_gateway_stops(upstream, http, student):
    import asyncio

    from openwheel.teachers import HttpTeacher

    async def slow(_, writer):
        await asyncio.sleep(0.5)
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(COMPLETION)
        writer.write(head + COMPLETION)

    upstream.answer = slow
    exchanges = []

    class Store:
        def append(self, batch):
            exchanges.extend(batch)
            return len(batch)

    capture = CaptureWriter(Store())
    app = create_app(HttpTeacher(upstream.url), student(audit_probability=1.0), capture)
    with gateway_thread(app) as url:
        body = b'{"messages":[{"role":"user","content":"refund"}]}'
        assert http("POST", f"{url}/v1/chat/completions", body).status == 200
    assert sorted(one.source for one in exchanges) == ["student", "teacher"]
    assert capture.close()


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"logprobs": True}, {"modalities": ["text", "audio"]}]
)
def test_only_a_teacher_answers_what_is_not_plain(gateway, http, student, fields):
    running = gateway(None, student())
    assert ask(http, running, "refund", **fields).headers["x-openwheel-source"] == "teacher"


def test_only_whole_answers_of_status_200_are_captured(gateway, http, upstream):
    running = gateway()
    upstream.answers(COMPLETION, status="500 Oh")
    ask(http, running, "x")
    upstream.answers(COMPLETION, status="201 Created")
    ask(http, running, "x")
    upstream.answers(b'{"choices": []}')
    ask(http, running, "x")
    upstream.answers(COMPLETION)
    ask(http, running, "y")
    assert b'"y"' in running.exchanges(1)[0].request


def test_student_that_fails_leaves_the_request_to_the_teacher(gateway, http, student):
    serving = student(audit_probability=1.0)

    def decide(prompt, task="", key=""):
        raise StudentFileError("weights.safetensors is not what was certified")

    serving.decide = decide
    running = gateway(None, serving)
    assert ask(http, running, "refund").headers["x-openwheel-source"] == "teacher"
    [exchange] = running.exchanges(1)
    assert not exchange.unbiased
    counts = json.loads(http("GET", f"{running.url}/healthz").data)["requests"]
    assert counts["student_errors"] == 1


def test_task_id_that_is_no_header_value_is_encoded(gateway, http, student):
    running = gateway(None, student(task="a\r\nb\u00e9 c"))
    response = ask(http, running, "refund")
    assert response.headers["x-openwheel-task"] == "a%0D%0Ab%C3%A9 c"


def test_health(gateway, http, student):
    running = gateway(None, student(), students=lambda: {"route": "student-1"})
    ask(http, running, "refund")
    ask(http, running, "other")
    running.exchanges(2)
    report = json.loads(http("GET", f"{running.url}/healthz").data)
    assert report["status"] == "ok"
    assert report["version"]
    assert report["uptime_s"] > 0
    assert report["requests"]["student"] == report["requests"]["teacher"] == 1
    assert report["capture"]["written"] == 2
    assert report["capture"]["dropped"] == 0
    assert report["students"] == {"route": "student-1"}


def test_promotions_are_looked_up_without_a_restart(gateway, http, student):
    serving = student(student="")
    refreshed = []

    def refresh():
        refreshed.append(time.monotonic())
        serving.student = "student-2" if len(refreshed) > 2 else ""
        return True

    serving.refresh = refresh
    running = gateway(None, serving, refresh_every=0.05)
    assert ask(http, running, "refund").headers["x-openwheel-source"] == "teacher"
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        source = ask(http, running, "refund").headers["x-openwheel-source"]
        if source == "student":
            break
    assert source == "student"


def test_a_refresh_that_fails_is_counted_and_tried_again(gateway, http, student):
    serving = student(student="")
    calls = []

    def refresh():
        calls.append(1)
        raise StudentFileError("corrupt")

    serving.refresh = refresh
    running = gateway(None, serving, refresh_every=0.02)
    time.sleep(0.3)
    assert len(calls) > 2
    assert ask(http, running, "x").status == 200
    report = json.loads(http("GET", f"{running.url}/healthz").data)
    assert report["requests"]["refresh_errors"] >= len(calls) - 1
    assert report["status"] == "degraded"


def test_exchanges_reach_a_real_store(tmp_path, http, student, upstream):
    from openwheel.teachers import HttpTeacher

    with Store.open(tmp_path / "openwheel.db") as store:
        capture = CaptureWriter(store)
        app = create_app(HttpTeacher(upstream.url), student(), capture)
        with gateway_thread(app) as url:
            for text in ("refund", "other"):
                body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
                http("POST", f"{url}/v1/chat/completions", body)
        assert capture.close()
        assert store.count() == 2


def test_decision_that_names_no_task(gateway, http, student):
    serving = student()
    serving.decide = lambda *_: Decision(reason="no task")
    response = ask(http, gateway(None, serving), "x")
    assert "x-openwheel-task" not in response.headers
    assert response.headers["x-openwheel-source"] == "teacher"


def test_log_probabilities_are_kept_and_train_but_do_not_judge(gateway, http, upstream, student):
    shown = [{"token": "shipping", "logprob": -0.1}, {"token": "ref", "logprob": -2.4}]
    choice = {
        "message": {"content": "shipping"},
        "logprobs": {"content": [{**shown[0], "top_logprobs": shown}]},
        "finish_reason": "stop",
    }
    upstream.answers(json.dumps({"choices": [choice]}).encode())
    running = gateway(None, student(audit_probability=1.0))
    asked = ask(http, running, "refund", logprobs=True, top_logprobs=2)
    assert asked.headers["x-openwheel-source"] == "teacher"
    [exchange] = running.exchanges(1)
    given = dict(exchange.answer.probabilities)
    assert given == {
        "shipping": pytest.approx(0.905, abs=0.001),
        "ref…": pytest.approx(0.09, abs=0.01),
    }
    assert not exchange.unbiased
    prompt = exchange.prompt()
    assert (prompt.plain, prompt.answerable) == (True, False)
