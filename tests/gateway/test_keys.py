"""Keys at the gateway: real HTTP, the official SDKs, a real store."""

import asyncio
import contextlib
import json
import os
import time

import anthropic
import openai
import pytest

from gateway.keyed import (
    CHAT,
    COMPLETION,
    EMBEDDINGS,
    MESSAGE,
    TEACHER_KEY,
    Guarded,
    claude,
    eventually,
    open_ai,
    refused,
    whole,
)
from gateway.making import make_app
from openwheel.access import Access, KeyStore, Spending
from openwheel.gateway import CaptureWriter, gateway_thread
from openwheel.store import Store
from openwheel.teachers import HttpTeacher


@pytest.fixture(autouse=True)
def by_path(upstream):
    """Answer each API as it would."""

    async def script(received, writer):
        path = received.line.split(" ")[1]
        answers = {"/v1/messages": MESSAGE, "/v1/embeddings": EMBEDDINGS}
        writer.write(whole(answers.get(path, COMPLETION)))

    upstream.answer = script


@pytest.fixture
def guarded(tmp_path, upstream, student):
    with contextlib.ExitStack() as stack:

        def start(serving=None, *, required=None, key_env=None, **settings) -> Guarded:
            store = stack.enter_context(Store.open(tmp_path / "openwheel.db"))
            access = Access(store, tmp_path / "limits", required=required)
            stack.callback(access.close)
            capture = CaptureWriter(store)
            stack.callback(capture.close)
            app = make_app(
                HttpTeacher(upstream.url, name="big", key_env=key_env),
                serving or student(student=""),
                capture,
                access=access,
                **settings,
            )
            url = stack.enter_context(gateway_thread(app))
            return Guarded(url, store, access, KeyStore(store), capture)

        yield start


@pytest.fixture
def chat(http):
    def send(running, secret="", path="/v1/chat/completions", headers=None, **fields):
        sent = {"content-type": "application/json", **(headers or {})}
        if secret:
            sent["authorization"] = f"Bearer {secret}"
        return http("POST", running.url + path, json.dumps({**CHAT, **fields}).encode(), sent)

    return send


@pytest.fixture
def secrets(guarded):
    """Start a gateway, and return it with a secret of every kind that is not valid."""
    running = guarded()
    running.key("live")
    _, revoked = running.keys.create("old")
    running.keys.revoke("old")
    past = time.time() - 1000
    _, expired = KeyStore(running.store, clock=lambda: past).create("brief", expires=past + 1)
    _, live = running.keys.create("another")
    running.access.refresh()
    unknown = "ow-" + "x" * 43
    return running, {
        "none": "",
        "unknown": unknown,
        "foreign": "sk-something",
        "cut": live[:-1],
        "revoked": revoked,
        "expired": expired,
    }


SAID = {
    "none": "No API key was sent",
    "unknown": "not one of this gateway's",
    "foreign": "not one of this gateway's",
    "cut": "not one of this gateway's",
    "revoked": "was revoked",
    "expired": "has expired",
}


def test_without_a_valid_key_every_api_says_so_in_its_own_shape(secrets, chat, upstream):
    running, invalid = secrets
    for kind, secret in invalid.items():
        for path in ("chat/completions", "responses", "completions", "embeddings", "models", "x"):
            response = chat(running, secret, f"/v1/{path}")
            error = json.loads(response.data)["error"]
            assert response.status == 401
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
            assert SAID[kind] in error["message"]
        for path in ("messages", "messages/count_tokens"):
            response = chat(running, "", f"/v1/{path}", {"x-api-key": secret} if secret else {})
            body = json.loads(response.data)
            assert response.status == 401
            assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
            assert SAID[kind] in body["error"]["message"]
    assert not upstream.received


def test_the_sdks_raise_their_authentication_error_and_do_not_retry(secrets, http):
    running, invalid = secrets
    _, live = running.key("watcher")
    for number, kind in enumerate(["unknown", "foreign", "revoked", "expired"], 1):
        with open_ai(running, invalid[kind], retries=3) as ask:
            with pytest.raises(openai.AuthenticationError) as caught:
                ask()
            assert caught.value.code == "invalid_api_key"
            assert invalid[kind] not in str(caught.value)
        with claude(running, invalid[kind], retries=3) as ask:
            with pytest.raises(anthropic.AuthenticationError) as other:
                ask()
            assert other.value.body["error"]["type"] == "authentication_error"
        assert refused(running, http, live) == 2 * number


def test_where_the_key_may_stand_and_that_no_teacher_sees_it(guarded, chat, upstream):
    running = guarded()
    _, secret = running.key()
    ways = [
        {"authorization": "Bearer {}"},
        {"authorization": "bearer {}"},
        {"x-api-key": "{}"},
        {"api-key": "{}"},
        {"authorization": "Bearer {}", "x-api-key": "{}"},
        {"authorization": "Bearer sk-other", "x-api-key": "{}"},
        {"authorization": "Bearer {}", "x-api-key": "sk-other", "api-key": "sk-more"},
        {"authorization": "Basic dTpw", "api-key": "{}"},
    ]
    for headers in ways:
        sent = {name: value.format(secret) for name, value in headers.items()}
        sent |= {"x-mine": "1", "cookie": f"k={secret}"}
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings"):
            assert chat(running, "", path, sent).status == 200, headers
    assert [one.headers["x-mine"] for one in upstream.received] == ["1"] * 3 * len(ways)
    assert secret not in repr(upstream.received)
    assert "sk-" not in repr(upstream.received)


def test_the_key_of_the_teacher_takes_the_clients_place(guarded, chat, upstream, http, student):
    os.environ["OPENWHEEL_TEST_TEACHER_KEY"] = TEACHER_KEY
    try:
        running = guarded(student(audit_probability=1.0), key_env="OPENWHEEL_TEST_TEACHER_KEY")
    finally:
        del os.environ["OPENWHEEL_TEST_TEACHER_KEY"]
    _, secret = running.key()
    for text in ("where is it?", "a refund"):  # the second is an audit
        chat(running, secret, messages=[{"role": "user", "content": text}])
    http("GET", f"{running.url}/v1/models", None, {"x-api-key": secret})
    eventually(lambda: len(upstream.received) == 3)
    assert [one.headers["authorization"] for one in upstream.received] == [
        f"Bearer {TEACHER_KEY}"
    ] * 3
    assert secret not in repr(upstream.received)


def test_no_key_is_written_logged_or_shown(guarded, chat, http, upstream, caplog, tmp_path):
    caplog.set_level("DEBUG")
    os.environ["OPENWHEEL_TEST_TEACHER_KEY"] = TEACHER_KEY
    try:
        running = guarded(key_env="OPENWHEEL_TEST_TEACHER_KEY")
    finally:
        del os.environ["OPENWHEEL_TEST_TEACHER_KEY"]
    _, secret = running.key()
    with_key = {"authorization": f"Bearer {secret}"}
    assert chat(running, secret).status == 200
    assert chat(running, secret, stream=True).status == 200
    assert chat(running, secret + "x").status == 401
    seen = [chat(running, secret, "/v1/embeddings").data]
    upstream.writes(b"nonsense", close=True)  # a teacher that fails is what is logged most
    seen.append(chat(running, secret).data)
    running.capture.flush()
    running.access.refresh()
    seen += [http("GET", f"{running.url}/{page}", None, with_key).data for page in PAGES]
    seen += [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert running.store.count() >= 1
    assert (tmp_path / "openwheel.db-wal").exists()
    assert "did not answer" in caplog.text or "broke off" in caplog.text
    seen.append(caplog.text.encode())
    for one in (secret, secret[3:], TEACHER_KEY):
        assert not [place for place in seen if one.encode() in place]


PAGES = ("healthz", "metrics")


def test_health_without_a_key_is_only_the_status_and_metrics_need_one(guarded, http, chat):
    running = guarded(students=lambda: {"route": "student-1"})
    _, secret = running.key()
    for headers in ({}, {"authorization": "Bearer ow-wrong"}):
        response = http("GET", f"{running.url}/healthz", None, headers)
        assert (response.status, json.loads(response.data)) == (200, {"status": "ok"})
        refusal = http("GET", f"{running.url}/metrics", None, headers)
        assert refusal.status == 401
        assert b"openwheel_" not in refusal.data
    chat(running, secret)
    headers = {"authorization": f"Bearer {secret}"}
    report = json.loads(http("GET", f"{running.url}/healthz", None, headers).data)
    assert report["students"] == {"route": "student-1"}
    page = http("GET", f"{running.url}/metrics", None, headers)
    assert page.status == 200
    assert b'openwheel_requests_total{api="chat",source="teacher",status="200"} 1' in page.data


def test_models_and_tasks_outside_a_keys_scope_are_refused(guarded, student, chat, upstream):
    running = guarded(student(student="", task="route"))
    _, scoped = running.key("models", models=["m", "qwen*"])
    _, tasked = running.key("tasks", tasks=["other-*"])
    _, right = running.key("right", tasks=["rou*"], models=["m"])
    with open_ai(running, scoped, retries=3) as ask:
        assert ask().choices[0].message.content == "shipping"
        assert ask(model="qwen3-8b").choices[0].message.content == "shipping"
        with pytest.raises(openai.PermissionDeniedError, match="gpt-9") as caught:
            ask(model="gpt-9")
        assert caught.value.code == "model_not_allowed"
    with open_ai(running, tasked) as ask:
        with pytest.raises(openai.PermissionDeniedError, match="route") as caught:
            ask()
        assert caught.value.code == "task_not_allowed"
    with claude(running, tasked) as ask, pytest.raises(anthropic.PermissionDeniedError) as other:
        ask()
    assert other.value.body["error"]["type"] == "permission_error"
    with claude(running, scoped) as ask, pytest.raises(anthropic.PermissionDeniedError):
        ask(model="gpt-9")
    assert chat(running, right).status == 200
    # Neither a body that cannot be read nor another path is a way around a scope.
    assert chat(running, scoped, model=7).status == 403
    assert chat(running, scoped, "/v1/embeddings", model="gpt-9").status == 403
    assert chat(running, tasked, messages=7).status == 403
    assert len(upstream.received) == 3


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/responses/resp_1/cancel"])
def test_a_key_limited_to_tasks_may_not_use_other_paths(guarded, chat, upstream, path):
    running = guarded()
    _, tasked = running.key("tasks", tasks=["*"])
    assert chat(running, tasked, path).status == 403
    assert not upstream.received


def test_a_used_up_rate_limit_says_when_to_come_back(guarded, chat):
    running = guarded()
    _, secret = running.key(requests_per_minute=2)
    assert [chat(running, secret).status for _ in range(2)] == [200, 200]
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings"):
        response = chat(running, secret, path)
        assert response.status == 429
        seconds = int(response.headers["retry-after"])
        milliseconds = int(response.headers["retry-after-ms"])
        assert 1 <= seconds <= 30
        assert 1000 * (seconds - 1) < milliseconds <= 1000 * seconds
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        assert response.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-should-retry" not in response.headers
        error = json.loads(response.data)["error"]
        assert error["type"] == ("rate_limit_error" if "messages" in path else "requests")


@pytest.mark.parametrize("sdk", [open_ai, claude])
def test_the_sdks_wait_as_long_as_they_are_told(guarded, chat, http, sdk):
    """With pauses of their own, half a second at first, they would be refused again."""
    running = guarded()
    _, watcher = running.key("watcher")
    _, secret = running.key(requests_per_minute=50)
    with sdk(running, secret, retries=2) as ask:
        while chat(running, secret).status == 200:
            pass
        before = refused(running, http, watcher)
        assert ask().model == "m-1"
    assert refused(running, http, watcher) == before + 1


def test_tokens_a_minute(guarded, chat):
    running = guarded()
    _, secret = running.key(tokens_per_minute=900)
    assert chat(running, secret).status == 200  # takes 1,000, which leaves a debt
    response = eventually(lambda: found if (found := chat(running, secret)).status == 429 else None)
    assert json.loads(response.data)["error"]["type"] == "tokens"
    assert response.headers["x-ratelimit-limit-tokens"] == "900"
    assert response.headers["x-ratelimit-remaining-tokens"] == "0"
    assert int(response.headers["retry-after"]) >= 6


@pytest.mark.parametrize(
    ("sdk", "error"), [(open_ai, openai.RateLimitError), (claude, anthropic.RateLimitError)]
)
def test_a_spent_budget_is_said_once_since_retrying_would_not_help(guarded, http, sdk, error):
    running = guarded(prices={"big": (1.0, 2.0)})
    _, watcher = running.key("watcher")
    key, secret = running.key(budget=0.0014)
    with sdk(running, secret, retries=3) as ask:
        ask()
        assert running.spent(key, 1000) == Spending(1000, 1400)
        with pytest.raises(error, match="spent its budget") as caught:
            ask()
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in caught.value.response.headers
    if sdk is open_ai:
        assert caught.value.code == "insufficient_quota"
    assert refused(running, http, watcher) == 1


def event(value) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def piece(text, finish=None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return event({"id": "c-1", "model": "m-1", "choices": [choice]})


WORDS = [piece(" shipping") for _ in range(50)]
USAGE = event({"choices": [], "usage": {"prompt_tokens": 600, "completion_tokens": 400}})


def streams(upstream, *events: bytes) -> None:
    upstream.writes(
        upstream.stream_head
        + b"".join(upstream.chunked(one) for one in [*events, event(b"[DONE]")])
        + b"0\r\n\r\n"
    )


def test_what_answers_cost(guarded, chat, upstream, http):
    running = guarded(prices={"big": (1.0, 2.0)})
    for number, (path, cost) in enumerate(
        [
            ("/v1/chat/completions", Spending(1000, 1400)),
            ("/v1/messages", Spending(1000, 1400)),
            ("/v1/embeddings", Spending(70, 70)),
        ]
    ):
        key, secret = running.key(f"whole {number}")
        assert chat(running, secret, path).status == 200
        assert running.spent(key, cost.tokens) == cost
    key, secret = running.key("free")
    upstream.answers(b'{"object":"list","data":[]}')
    with_key = {"authorization": f"Bearer {secret}"}
    assert http("GET", f"{running.url}/v1/models", None, with_key).status == 200
    upstream.answers(json.dumps(COMPLETION).encode(), status="500 Oh")
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        assert chat(running, secret, path).status == 500
    upstream.answers(json.dumps(COMPLETION).encode())
    assert chat(running, secret).status == 200
    assert running.spent(key, 1000) == Spending(1000, 1400)  # of the last alone


def test_what_streams_cost(guarded, chat, upstream):
    running = guarded()
    streams(upstream, *WORDS, piece("", "stop"), USAGE)
    told, secret = running.key("told")
    assert chat(running, secret, stream=True).status == 200
    assert running.spent(told, 1000).tokens == 1000
    # Neither a path nor a body that the gateway does not know makes an answer free.
    other, secret = running.key("other path")
    assert chat(running, secret, "/v1/chat/completions/", stream=True).status == 200
    assert running.spent(other, 1000).tokens == 1000
    streams(upstream, *WORDS, piece("", "stop"))
    request = len(json.dumps(CHAT)) // 4
    for name, more in [
        ("estimated", {}),
        ("unreadable", {"messages": "where is it?"}),
        ("elsewhere", {"path": "/v1/chat/completions/"}),
    ]:
        key, secret = running.key(name)
        assert chat(running, secret, stream=True, **more).status == 200
        assert 50 <= running.spent(key, 1).tokens - request <= 300, name


def test_a_client_that_leaves_pays_for_what_was_written(guarded, chat, upstream):
    written = asyncio.Event()

    async def script(_, writer):
        writer.write(upstream.stream_head)
        writer.write(b"".join(upstream.chunked(one) for one in WORDS))
        await writer.drain()
        await written.wait()

    upstream.answer = script
    running = guarded()
    key, secret = running.key()
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=secret, max_retries=0) as client:
        stream = client.chat.completions.create(**CHAT, stream=True)
        for number, _ in enumerate(stream, 1):
            if number == len(WORDS):
                break
        stream.close()
    assert upstream.disconnected.wait(5)
    tokens = running.spent(key, 1).tokens
    assert 50 <= tokens <= 250
    assert running.store.count() == 0


def test_what_a_student_answers_is_free_and_so_is_its_audit(guarded, student, chat, upstream):
    prices = {"big": (1.0, 2.0)}
    running = guarded(student(audit_probability=1.0), prices=prices)
    key, secret = running.key(budget=0.0001)
    for _ in range(3):
        response = chat(running, secret, messages=[{"role": "user", "content": "refund"}])
        assert response.headers["x-openwheel-source"] == "student"
    assert eventually(lambda: len(upstream.received) == 3)
    assert eventually(lambda: running.capture.flush() and running.store.count() == 6)
    assert running.spent(key) == Spending()


def test_the_exchange_holds_the_keys_name(guarded, chat, student):
    running = guarded(student(audit_probability=1.0))
    for name, text in [("desk", "where?"), ("web shop", "refund")]:
        _, secret = running.key(name)
        chat(running, secret, messages=[{"role": "user", "content": text}])
    assert eventually(lambda: running.capture.flush() and running.store.count() == 3)
    kept = [(one.key, one.source) for _, one in running.store.exchanges()]
    assert sorted(kept) == [("desk", "teacher"), ("web shop", "student"), ("web shop", "teacher")]


def test_keys_come_into_force_and_go_while_the_gateway_runs(guarded, chat):
    running = guarded()
    assert chat(running).status == 200
    # Made and revoked as the command does it, in the store; nobody tells the gateway.
    _, first = running.keys.create("first")
    assert eventually(lambda: chat(running).status == 401)
    assert chat(running, first).status == 200
    running.keys.revoke("first")
    assert eventually(lambda: chat(running, first).status == 401)
    assert chat(running).status == 401  # the last key's end opens nothing
    _, second = running.keys.create("second")
    assert eventually(lambda: chat(running, second).status == 200)


@pytest.mark.parametrize("upgrade", [False, True])
def test_there_is_no_way_around(guarded, http, upstream, upgrade):
    running = guarded()
    running.key()
    websocket = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    expected = {
        "/v1/models": 401,
        "/v1/realtime?model=m": 401,
        "//v1/models": 401,
        "/models": 401,
        "/v1/unknown": 401,
        "/v1/chat/completions": 405,
        "/v1//chat/completions": 405,
        "/v1/chat/completions/": 405,
        "/v1/chat%2Fcompletions": 401,
        "/%76%31/models": 404,
        "/v1/": 404,
        "/v1/../admin": 404,
        "/v1/%2e%2e/admin": 404,
        "/v1": 404,
        "/v2/models": 404,
        "/": 404,
        "/api/keys": 404,
    }
    headers = websocket if upgrade else {}
    got = {path: http("GET", running.url + path, None, headers).status for path in expected}
    assert got == expected
    assert not upstream.received


def test_a_gateways_key_is_hidden_from_the_teacher_also_where_none_is_needed(
    guarded, chat, upstream
):
    running = guarded(required=False)
    _, secret = running.key()
    assert chat(running, secret).status == 200
    assert secret not in repr(upstream.received)
