"""Feedback over real HTTP, on a real store and real keys."""

import contextlib
import json
import random
import threading

import pytest

from gateway.making import make_app
from openwheel.access import Access, KeyStore
from openwheel.gateway import CaptureWriter, gateway_thread
from openwheel.loop.feedback.desk import FeedbackDesk
from openwheel.store import Exchange, Store
from openwheel.store.feedback import FeedbackStore
from openwheel.teachers import HttpTeacher
from openwheel.wire import Answer

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a refund please"}]}
ASKED = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "m", "prompt": "a refund please"},
    "/v1/responses": {"model": "m", "input": "a refund please", "store": False},
    "/v1/messages": {**CHAT, "max_tokens": 9},
}
REPLY = {"id": "chatcmpl-teacher-1", "object": "chat.completion", "model": "m"}
REPLY["choices"] = [{"index": 0, "message": {"content": "billing"}, "finish_reason": "stop"}]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "x.db") as store:
        yield store


@pytest.fixture
def serve(store, upstream, student, tmp_path):
    """Start a gateway on the store; one whose serving has a student unless told otherwise."""
    with contextlib.ExitStack() as stack:

        def start(**settings):
            capture = CaptureWriter(store)
            stack.callback(capture.close, 1.0)
            serving = settings.pop("serving", None) or student()
            desk = FeedbackDesk(store)
            teacher = HttpTeacher(upstream.url)
            app = make_app(teacher, serving, capture, feedback=desk, **settings)
            return stack.enter_context(gateway_thread(app))

        yield start


@pytest.fixture
def say(http):
    def say(url, body, key=""):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = http("POST", f"{url}/v1/feedback", data, headers)
        return response.status, json.loads(response.data)

    return say


def said(store):
    return [(one.label, one.score, one.correction) for one in FeedbackStore(store).latest()]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("stream", [False, True])
def test_a_students_answer_is_found_by_both_its_ids(path, stream, serve, say, http, store):
    url = serve()
    response = http("POST", url + path, json.dumps({**ASKED[path], "stream": stream}).encode())
    text = response.data.decode()
    if stream:
        events = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
        first = json.loads(events[0])
        first = first.get("response") or first.get("message") or first
    else:
        first = json.loads(text)
    header = response.headers.get("x-request-id") or response.headers["request-id"]
    assert first["id"] != header
    assert say(url, {"id": first["id"], "label": "bad"}) == (
        200,
        {"object": "feedback", "status": "accepted"},
    )
    assert say(url, {"id": header, "correction": "returns"})[0] == 200
    assert said(store) == [("bad", None, "returns")]


def test_a_teachers_answer_is_found_by_the_ids_it_gave(serve, say, http, store, upstream, student):
    head = "content-type: application/json\r\nx-request-id: req-77"
    upstream.answers(json.dumps(REPLY).encode(), head=head)
    url = serve(serving=student(student=""))
    http("POST", f"{url}/v1/chat/completions", json.dumps(CHAT).encode())
    assert say(url, {"id": "chatcmpl-teacher-1", "score": 0.25})[0] == 200
    assert say(url, {"id": "req-77", "label": "good"})[0] == 200
    assert said(store) == [("good", 0.25, None)]
    assert b"openwheel_feedback_total 2" in http("GET", f"{url}/metrics").data


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (
            "/v1/chat/completions",
            [
                {"id": "c-1", "choices": [{"index": 0, "delta": {"content": "x"}}]},
                {"id": "c-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            ],
        ),
        (
            "/v1/messages",
            [
                {
                    "type": "message_start",
                    "message": {"id": "c-1", "role": "assistant", "content": [], "usage": {}},
                },
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
                {"type": "message_stop"},
            ],
        ),
    ],
)
def test_a_teachers_stream_is_found_by_its_id(
    path, events, serve, say, http, store, upstream, student
):
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    upstream.answers(body.encode(), head="content-type: text/event-stream")
    url = serve(serving=student(student=""))
    http("POST", url + path, json.dumps({**ASKED[path], "stream": True}).encode())
    assert say(url, {"id": "c-1", "label": "bad"})[0] == 200


def test_the_same_again_changes_nothing_and_more_is_added(serve, say, http, store):
    url = serve()
    response = http("POST", f"{url}/v1/chat/completions", json.dumps(CHAT).encode())
    identity = json.loads(response.data)["id"]
    for _ in range(3):
        assert say(url, {"id": identity, "correction": "returns"})[0] == 200
    assert len(FeedbackStore(store).latest()) == 1
    before = FeedbackStore(store).latest()
    assert say(url, {"id": identity, "correction": "returns"})[0] == 200
    assert FeedbackStore(store).latest() == before
    assert say(url, {"id": identity, "score": 0})[0] == 200
    assert said(store) == [("", 0.0, "returns")]


def test_unknown_and_ambiguous_ids_are_refused(serve, say, http, store, upstream, student):
    upstream.answers(json.dumps(REPLY).encode())
    url = serve(serving=student(student=""))
    status, body = say(url, {"id": "chatcmpl-nobody", "label": "good"})
    assert status == 404
    assert body["error"]["code"] == "answer_not_found"
    for word in ("one", "two"):
        asked = {**CHAT, "messages": [{"role": "user", "content": word}]}
        http("POST", f"{url}/v1/chat/completions", json.dumps(asked).encode())
    status, body = say(url, {"id": "chatcmpl-teacher-1", "label": "good"})
    while status != 409:  # the second may not be committed yet
        status, body = say(url, {"id": "chatcmpl-teacher-1", "label": "good"})
    assert body["error"]["code"] == "ambiguous_id"


def test_a_key_speaks_of_its_own_answers_and_a_trusted_one_of_all(
    serve, say, http, store, tmp_path
):
    keys = KeyStore(store)
    secrets = {
        name: keys.create(name, trust=trust, models=["m"])[1]
        for name, trust in (("one", "low"), ("two", "normal"), ("boss", "high"))
    }
    url = serve(access=Access(store, tmp_path / "limits"))
    bearer = {"authorization": f"Bearer {secrets['one']}"}
    response = http("POST", f"{url}/v1/chat/completions", json.dumps(CHAT).encode(), bearer)
    good = {"id": json.loads(response.data)["id"], "label": "good"}
    assert say(url, good)[0] == 401
    assert say(url, good, secrets["two"])[0] == 404
    assert say(url, good, secrets["one"])[0] == 200
    assert say(url, good, secrets["boss"])[0] == 200
    assert {one.key for one in FeedbackStore(store).latest()} == {1, 3}
    # Who gets the name of a key that was revoked does not get its answers.
    keys.revoke("one")
    fresh = keys.create("one")[1]
    with contextlib.closing(Access(store, tmp_path / "more")) as access:
        other = serve(access=access)
        assert say(other, good, fresh)[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {"label": "good"},
        {"id": "x"},
        {"id": "x", "score": 1.5},
        {"id": "x", "score": -1},
        {"id": "x", "label": "fine"},
        {"id": "x", "correction": ["a"]},
        {"id": "x", "correction": "y" * 70_000},
        {"id": "x", "comment": "y" * 5_000},
        {"id": "", "label": "good"},
        {"id": "é", "label": "good"},
        {"id": "x", "label": "good", "labels": "good"},
    ],
)
def test_what_is_no_feedback_is_refused_with_the_reason(body, serve, say):
    status, answer = say(serve(), body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert len(answer["error"]["message"]) > 20


def test_a_body_too_large_and_a_wrong_method_are_refused(serve, say, http):
    url = serve()
    assert say(url, b" " * 300_000)[0] == 413
    assert http("GET", f"{url}/v1/feedback").status == 405
    assert b"feedback_refused_total 1" in http("GET", f"{url}/metrics").data


def test_without_a_store_there_is_nothing_to_speak_of(gateway, say):
    status, answer = say(gateway().url, {"id": "x", "label": "good"})
    assert status == 404
    assert answer["error"]["code"] == "feedback_off"


def test_feedback_that_cannot_be_kept_is_not_an_internal_error(serve, say, http, store):
    url = serve()
    response = http("POST", f"{url}/v1/chat/completions", json.dumps(CHAT).encode())
    good = {"id": json.loads(response.data)["id"], "label": "good"}
    assert say(url, good)[0] == 200
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE feedback RENAME TO gone")
    status, answer = say(url, {**good, "label": "bad"})
    assert status == 503
    assert answer["error"]["code"] == "store_unavailable"


def test_no_bytes_make_it_fail(serve, say, store):
    random_ = random.Random(5)
    store.append([Exchange(id="x", request=b"{}", answer=Answer("y"), source="teacher")])
    url = serve()
    values = [None, 0, -1, 1e300, 10**400, "x", "", "\x00", "\ud800", [], {}, {"a": [1]}, True]
    for _ in range(150):
        fields = ("id", "score", "label", "correction", "comment")
        body = {name: random_.choice(values) for name in fields if random_.random() < 0.7}
        if random_.random() < 0.5:
            body = {**body, "id": "x", "score": 1}
        raw = bytearray(json.dumps(body).encode())
        if random_.random() < 0.4:
            raw[random_.randrange(len(raw))] = random_.randrange(256)
        status, answer = say(url, bytes(raw))
        assert status in {200, 400, 404}
        assert status == 200 or answer["error"]["message"]


def test_one_worker_takes_feedback_on_the_answers_of_another(serve, say, http, store):
    first, second = serve(), serve()
    response = http("POST", f"{first}/v1/chat/completions", json.dumps(CHAT).encode())
    identity = json.loads(response.data)["id"]
    assert say(second, {"id": identity, "label": "bad"})[0] == 200
    assert say(first, {"id": identity, "correction": "returns"})[0] == 200
    assert said(store) == [("bad", None, "returns")]


def test_an_answer_that_is_committed_later_is_waited_for(serve, say, store):
    late = Exchange(id="late", request=b"{}", answer=Answer("y"), source="student")
    url = serve()
    timer = threading.Timer(0.3, store.append, ([late],))
    timer.start()
    assert say(url, {"id": "chatcmpl-late", "label": "good"})[0] == 200
    timer.join()
