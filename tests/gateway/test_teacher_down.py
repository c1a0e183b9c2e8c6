"""The teacher is down: what a certified student answers in its place, and what it never does."""

import contextlib
import json

import anthropic
import openai
import pytest

from gateway.apis import PATHS, request_of
from gateway.making import make_app
from openwheel.access import Access, KeyStore
from openwheel.gateway import CaptureWriter, gateway_thread
from openwheel.loop.feedback.desk import FeedbackDesk
from openwheel.loop.serving import Decision, Pending
from openwheel.store import Store
from openwheel.store.exchange import REJECTED
from openwheel.teachers import HttpTeacher
from openwheel.wire import APIS, TEXT_APIS, sse_data
from teacher import Teacher, says, silent

SURE = "a refund please"
UNSURE = "where is it?"
CHAT = PATHS["chat"]
STREAMED = pytest.mark.parametrize("stream", [False, True])
EVERY_API = pytest.mark.parametrize("api", list(TEXT_APIS))


@pytest.fixture
def teacher():
    with Teacher(says("shipping")) as teacher:
        teacher.down()
        yield teacher


@pytest.fixture
def down(gateway, student, teacher):
    """Start a gateway whose teacher is down."""

    def start(serving=None, **settings):
        serving = serving or student(canary=0.2, audit_probability=0.84)
        return gateway(HttpTeacher(teacher.url), serving, rng=lambda: 0.1, **settings)

    return start


def answered(api, response, *, stream):
    """Return the text of a whole answer, as its API has it."""
    assert response.status == 200, response.data
    read = APIS[api]
    data = response.data
    return (read.read_stream(sse_data(data)) if stream else read.read_reply(data)).answer.text


def health(http, running):
    return json.loads(http("GET", f"{running.url}/healthz").data)


@EVERY_API
@STREAMED
def test_a_certified_student_answers_what_the_canary_held_back(down, http, api, stream):
    running = down()
    response = http("POST", running.url + PATHS[api], request_of(api, SURE, stream=stream))
    assert answered(api, response, stream=stream) == "billing"
    assert response.headers["x-openwheel-source"] == "student"
    assert response.headers["x-openwheel-confidence"] == "0.9877"
    assert response.headers["x-openwheel-fallback"] == "teacher_unreachable"
    [exchange] = running.exchanges(1)
    assert (exchange.source, exchange.answer.text) == ("student", "billing")
    assert (exchange.unbiased, exchange.student_answer) == (False, None)
    assert (exchange.student, exchange.teacher) == ("student-1", "")
    assert response.headers[APIS[api].id_header.decode()] == exchange.id
    report = health(http, running)
    counts = report["requests"]
    assert (counts["stood_in"], counts["student"], counts["teacher"]) == (1, 1, 0)
    assert (counts["audits"], counts["audits_failed"]) == (0, 0)
    assert report["status"] == "degraded"
    assert report["teacher_down"]["models"] == ["m"]


def test_the_canary_holds_back_again_once_the_teacher_is_there(down, teacher, http):
    running = down()
    http("POST", running.url + CHAT, request_of("chat", SURE))
    teacher.up()
    response = http("POST", running.url + CHAT, request_of("chat", SURE))
    assert response.headers["x-openwheel-source"] == "teacher"
    assert "x-openwheel-fallback" not in response.headers
    audited = running.exchanges(2)[1]
    assert (audited.unbiased, audited.student_answer) == (True, "billing")
    report = health(http, running)
    assert (report["status"], report["teacher_down"]) == ("ok", None)


@pytest.mark.parametrize(
    ("status", "source"),
    [
        *((status, "student") for status in (502, 503, 504, 529)),
        *((status, "teacher") for status in (500, 501, 429, 400, 404, 408)),
    ],
)
def test_statuses_that_say_nothing_of_the_request_and_those_that_do(
    gateway, student, upstream, http, status, source
):
    upstream.answers(b'{"error": {"message": "no"}}', status=f"{status} No")
    serving = student(canary=0.2, audit_probability=0.84)
    running = gateway(serving=serving, rng=lambda: 0.1, teacher_wait=600.0)
    response = http("POST", running.url + CHAT, request_of("chat", SURE))
    assert response.headers["x-openwheel-source"] == source
    assert response.status == (200 if source == "student" else status)
    assert len(upstream.received) == 1
    if source == "student":
        assert response.headers["x-openwheel-fallback"] == "teacher_unavailable"
    else:
        running.exchanges(1 if status == 400 else 0)  # what it rejects is kept


def test_a_teacher_that_breaks_off_before_its_answer_is_stood_in_for_and_never_after(
    gateway, student, upstream, http
):
    serving = student(canary=0.2, audit_probability=0.84)
    running = gateway(serving=serving, rng=lambda: 0.1)
    upstream.writes(b"", close=True)
    response = http("POST", running.url + CHAT, request_of("chat", SURE))
    assert response.headers["x-openwheel-fallback"] == "teacher_unreachable"
    upstream.writes(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", close=True)
    with (
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": SURE}])
    running.exchanges(1)


def test_a_silent_teacher_is_stood_in_for(gateway, student, upstream, http):
    upstream.answer = silent
    serving = student(canary=0.2, audit_probability=0.84)
    teacher = HttpTeacher(upstream.url, read_timeout=0.1)
    running = gateway(teacher, serving, rng=lambda: 0.1, teacher_wait=600.0)
    response = http("POST", running.url + CHAT, request_of("chat", SURE))
    assert response.headers["x-openwheel-fallback"] == "teacher_timeout"
    response = http("POST", running.url + CHAT, request_of("chat", UNSURE))
    assert response.status == 504
    assert len(upstream.received) == 2  # it may be at work, so it is not asked again


def test_an_audit_that_fails_harms_no_client(down, student, http):
    running = down(student(audit_probability=1.0))
    for n in range(3):
        response = http("POST", running.url + CHAT, request_of("chat", f"{SURE} {n}"))
        assert response.headers["x-openwheel-source"] == "student"
        assert "x-openwheel-fallback" not in response.headers
    assert {exchange.source for exchange in running.exchanges(3)} == {"student"}
    counts = health(http, running)["requests"]
    assert (counts["audits_failed"], counts["stood_in"]) == (3, 0)


def test_the_rest_gets_the_error_at_once_as_the_sdks_know_it(down, http):
    running = down()
    said = [{"role": "user", "content": UNSURE}]
    with (
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(model="m", messages=said)
    assert (caught.value.status_code, caught.value.code) == (502, "teacher_unreachable")
    assert "retry-after" not in caught.value.response.headers
    assert caught.value.response.headers["x-openwheel-source"] == "teacher"
    with (
        anthropic.Anthropic(base_url=running.url, api_key="x", max_retries=0) as client,
        pytest.raises(anthropic.InternalServerError) as other,
    ):
        client.messages.create(model="m", messages=said, max_tokens=9)
    assert other.value.status_code == 502
    running.exchanges(0)
    counts = health(http, running)["requests"]
    assert (counts["teacher"], counts["teacher_errors"], counts["waited"]) == (2, 2, 0)


@EVERY_API
@STREAMED
def test_best_effort_is_labelled_and_kept_apart(down, student, http, api, stream):
    running = down(student(below_threshold_answer="account"), best_effort={"*": True})
    response = http("POST", running.url + PATHS[api], request_of(api, UNSURE, stream=stream))
    assert answered(api, response, stream=stream) == "account"
    assert response.headers["x-openwheel-source"] == "best-effort"
    assert response.headers["x-openwheel-confidence"] == "0.2500"
    assert response.headers["x-openwheel-fallback"] == "teacher_unreachable"
    [exchange] = running.exchanges(1)
    assert (exchange.source, exchange.answer.text) == ("best_effort", "account")
    assert (exchange.unbiased, exchange.student) == (False, "student-1")
    assert (exchange.student_answer, exchange.confidence) == (None, 0.25)
    counts = health(http, running)["requests"]
    assert (counts["best_effort"], counts["student"], counts["stood_in"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("best_effort", "below_threshold", "status"),
    [
        (None, "account", 502),
        ({"*": False}, "account", 502),
        ({"*": True}, None, 502),
        ({"*": True, "route": False}, "account", 502),
        ({"route": True}, "account", 200),
        ({"*": False, "route": True}, "account", 200),
        ({"other": True}, "account", 502),
    ],
)
def test_best_effort_is_off_unless_it_is_set_and_the_student_has_a_guess(
    down, student, http, best_effort, below_threshold, status
):
    running = down(student(below_threshold_answer=below_threshold), best_effort=best_effort)
    response = http("POST", running.url + CHAT, request_of("chat", UNSURE))
    assert response.status == status
    assert running.exchanges(1 if status == 200 else 0) is not None


@pytest.mark.parametrize("text", [SURE, UNSURE])
def test_what_no_student_may_answer_it_does_not_answer_now(down, student, http, text):
    running = down(
        student(below_threshold_answer="account", canary=0.2, audit_probability=0.84),
        best_effort={"*": True},
    )
    for body in (
        request_of("chat", text, n=2),
        request_of("chat", text, logprobs=True),
        request_of("responses", text, store=True),
        b"{",
    ):
        path = PATHS["responses"] if b"input" in body else CHAT
        response = http("POST", running.url + path, body)
        assert response.status == 502, response.data
    running.exchanges(0)


def test_best_effort_never_replaces_an_answer_of_the_teacher(gateway, student, upstream, http):
    serving = student(below_threshold_answer="account")
    running = gateway(serving=serving, best_effort={"*": True})
    for status in (400, 401, 404, 429, 500):
        upstream.answers(b'{"error": {"message": "no"}}', status=f"{status} No")
        assert http("POST", running.url + CHAT, request_of("chat", UNSURE)).status == status
    assert running.exchanges(1)[0].answer == REJECTED  # the 400


def test_what_is_unlike_training_is_no_best_effort(gateway, teacher, http):
    class Unlike:
        def refresh(self):
            return False

        def decide(self, request, task="", key=""):
            return Decision(
                task="route",
                student="s",
                confidence=0.0,
                reason="unlike training",
                below_threshold_answer="account",
            )

    running = gateway(HttpTeacher(teacher.url), Unlike(), best_effort={"*": True})
    assert http("POST", running.url + CHAT, request_of("chat", UNSURE)).status == 502
    running.exchanges(0)


@pytest.mark.parametrize("remote", [False, True])
def test_a_student_that_takes_milliseconds_gives_its_best_too(gateway, teacher, http, remote):
    class Slow:
        def refresh(self):
            return False

        def decide(self, request, task="", key=""):
            found = Decision(
                task="route",
                student="slow",
                confidence=0.3,
                reason="confidence",
                below_threshold_answer="account",
            )
            return Pending(lambda: found, Decision(task="route", student="slow"), remote=remote)

    running = gateway(HttpTeacher(teacher.url), Slow(), best_effort={"*": True})
    response = http("POST", running.url + CHAT, request_of("chat", UNSURE))
    assert response.headers["x-openwheel-source"] == "best-effort"
    assert running.exchanges(1)[0].source == "best_effort"


def test_many_answers_in_the_teachers_place_are_one_line_of_log(down, student, http, caplog):
    running = down(student(below_threshold_answer="account"), best_effort={"*": True})
    for n in range(5):
        http("POST", running.url + CHAT, request_of("chat", f"{UNSURE} {n}"))
    lines = [record for record in caplog.records if "Best effort" in record.message]
    assert len(lines) == 1


def test_metrics_tell_of_it(down, student, http):
    running = down(student(below_threshold_answer="account"), best_effort={"*": True})
    http("POST", running.url + CHAT, request_of("chat", UNSURE))
    page = http("GET", f"{running.url}/metrics").data.decode()
    assert 'openwheel_teacher_down{worker="0"} 1.0' in page
    assert 'openwheel_requests_waiting{worker="0"} 0.0' in page
    assert 'openwheel_requests_total{api="chat",source="best_effort",status="200"} 1.0' in page
    assert 'openwheel_task_requests_total{source="best_effort",task="route"} 1.0' in page


def test_keys_and_feedback_hold_for_best_effort_too(teacher, student, http, tmp_path):
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(Store.open(tmp_path / "openwheel.db"))
        keys = KeyStore(store)
        _, allowed = keys.create("app", tasks=["route"])
        _, other = keys.create("other", tasks=["translate"])
        access = Access(store, tmp_path / "limits")
        stack.callback(access.close)
        capture = CaptureWriter(store)
        stack.callback(capture.close)
        app = make_app(
            HttpTeacher(teacher.url, keep_credentials=False),
            student(below_threshold_answer="account"),
            capture,
            access=access,
            feedback=FeedbackDesk(store),
            best_effort={"*": True},
        )
        url = stack.enter_context(gateway_thread(app))

        def ask(path, body, key):
            return http("POST", url + path, body, {"authorization": f"Bearer {key}"})

        assert ask(CHAT, request_of("chat", UNSURE), other).status == 403
        response = ask(CHAT, request_of("chat", UNSURE), allowed)
        assert response.headers["x-openwheel-source"] == "best-effort"
        identity = json.loads(response.data)["id"]
        capture.flush()
        said = json.dumps({"id": identity, "label": "bad", "correction": "shipping"}).encode()
        assert ask("/v1/feedback", said, other).status == 404
        assert ask("/v1/feedback", said, allowed).status == 200
        [(_, exchange)] = store.exchanges()
        assert (exchange.source, exchange.key) == ("best_effort", "app")
