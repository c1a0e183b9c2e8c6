"""Paths: whatever is forwarded carries the teacher's key, so only what is known is."""

import json
import posixpath
import unicodedata
from urllib.parse import unquote

import openai
import pytest
from hypothesis import strategies as st

from fuzz import fuzz
from gateway.apis import PATHS, request_of
from gateway.keyed import CHAT
from gateway.raw import Client, post
from openwheel.teachers import find_place
from openwheel.teachers.paths import TABLE
from teacher import says

SAID = {"messages": [{"role": "user", "content": "where is it?"}]}
KEY = "ow-" + "k" * 43
OTHERS = {
    "chat": ["/openai/deployments/m/chat/completions?api-version=2024-10-21"],
    "completions": ["/openai/deployments/m/completions?api-version=2024-10-21"],
    "responses": ["/openai/responses?api-version=2025-04-01-preview"],
    "messages": [],
}


NOWHERE = [
    "/v1/admin",
    "/v1/organization/admin_api_keys",
    "/v1/engines/gpt/completions",
    "/v1/chat",
    "/v1/chat%2fcompletions",
    "/v1/models%2f..%2fadmin",
    "/openai/deployments/m/files",
    "/openai/deployments/m",
    "/openai/admin",
    "/admin",
    "/chat",
    "//admin/v1/models",
    "/v1/v1/v1/models",
    "/",
]


def test_what_is_no_path_of_an_api_is_not_forwarded(gateway, upstream, http):
    running = gateway()
    for path in NOWHERE:
        for method, body in (("GET", None), ("POST", b"{}")):
            response = http(method, running.url + path, body)
            assert response.status == 404, path
            error = json.loads(response.data)["error"]
            assert error["code"] == "unknown_url"
            assert f"{running.url}/v1" in error["message"]
    assert not upstream.received


def test_a_path_takes_its_methods_alone(gateway, upstream, http):
    running = gateway()
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        for path in ("/v1/embeddings", "/v1/models", "/v1/chat/completions"):
            response = http(method, running.url + path)
            assert (response.status, bool(response.headers["allow"])) == (405, True)
    assert not upstream.received


def test_paths_that_the_operator_lists_are_forwarded(gateway, by_path, http):
    running = gateway(paths=["/v1/ocr/*", "/v1/tokenize"])
    for path in ("/v1/ocr/pages/3?x=1", "/v1/tokenize"):
        assert http("POST", running.url + path, b"{}").status == 200
    assert http("POST", f"{running.url}/v1/ocrs", b"{}").status == 404
    assert http("POST", f"{running.url}/v1/ocr/..%2f..%2fadmin", b"{}").status == 404
    assert [asked.target for asked in by_path.received] == ["/v1/ocr/pages/3?x=1", "/v1/tokenize"]


def test_whatever_base_url_a_client_was_given_the_same_endpoint_answers(
    gateway, upstream, http, student
):
    running = gateway(serving=student())
    upstream.answer = says("shipping")
    asked = 0
    for api, path in PATHS.items():
        bare = path.removeprefix("/v1")
        ways = [path, bare, f"/{path}", f"//{bare}", f"{path}/", f"/v1{path}", f"/v1/{bare}"]
        for way in [*ways, f"/openai{path}", *OTHERS[api]]:
            for text, source in (("where is it?", "teacher"), ("a refund", "student")):
                response = http("POST", running.url + way, request_of(api, text))
                assert response.headers["x-openwheel-source"] == source, way
                asked += 1
        assert {one.target for one in upstream.received} == {path}
        upstream.received.clear()
    assert len(running.exchanges(asked)) == asked


def test_lists_of_models_and_embeddings_are_found_as_well(gateway, by_path, http):
    running = gateway()
    for prefix in ("/v1", "", "//v1", "/openai/v1", "/openai", "/v1/v1"):
        assert http("GET", f"{running.url}{prefix}/models").status == 200
        assert http("POST", f"{running.url}{prefix}/embeddings", b'{"model":"e"}').status == 200
    assert {asked.target for asked in by_path.received} == {"/v1/models", "/v1/embeddings"}


def test_the_azure_client_is_served(guarded, by_path):
    running = guarded()
    _, secret = running.key(models=["m", "e"])
    with openai.AzureOpenAI(
        azure_endpoint=running.url, api_key=secret, api_version="2024-10-21", max_retries=0
    ) as client:
        assert client.chat.completions.create(**CHAT).choices[0].message.content == "shipping"
        assert client.embeddings.create(model="e", input="x").data[0].embedding == [0.5]
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(**{**CHAT, "model": "gpt-9"})
    with openai.OpenAI(
        base_url=f"{running.url}/openai/v1/", api_key=secret, max_retries=0
    ) as client:
        assert client.chat.completions.create(**CHAT).choices[0].message.content == "shipping"
    assert [asked.target for asked in by_path.received] == [
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/chat/completions",
    ]
    assert secret not in repr(by_path.received)


def test_a_deployment_is_the_model_where_the_body_names_none(guarded, by_path, ask):
    running = guarded()
    _, secret = running.key(models=["m"])
    way = "/openai/deployments/{}/chat/completions?api-version=1&x=2"
    assert ask(running, "POST", way.format("m"), secret, **SAID).status == 200
    assert ask(running, "POST", way.format("gpt-9"), secret, **SAID).status == 403
    # What counts is what the teacher reads.
    assert ask(running, "POST", way.format("m"), secret, model="gpt-9", **SAID).status == 403
    [asked] = by_path.received
    assert asked.target == "/v1/chat/completions?x=2"
    assert json.loads(asked.body) == {"model": "m", **SAID}


def test_a_key_of_the_gateway_reaches_no_teacher_by_query_or_header(guarded, by_path, http):
    running = guarded()
    _, secret = running.key()
    encoded = f"%6f%77-{secret[3:]}"
    for path in (f"?key={secret}&a=1", f"?a=1&k={encoded}", f"?{secret}&a=1"):
        response = http(
            "POST",
            f"{running.url}/v1/chat/completions{path}",
            json.dumps(CHAT).encode(),
            {"x-api-key": secret, "x-my-token": secret, "x-forwarded": f"by {secret}", "x-b": "1"},
        )
        assert response.status == 200
    assert {asked.target for asked in by_path.received} == {"/v1/chat/completions?a=1"}
    assert {asked.headers["x-b"] for asked in by_path.received} == {"1"}
    assert secret[3:] not in repr(by_path.received)


def test_nor_where_no_key_is_needed(gateway, by_path):
    running = gateway()
    head = b"x-note: %s\r\nx-window: window-of-opportunity\r\n" % KEY.encode()
    with Client(int(running.url.rpartition(":")[2])) as client:
        client.send(post(path=b"/v1/chat/completions?window-x=1", head=head))
        assert client.response().status == 200
    assert KEY not in repr(by_path.received)
    assert by_path.received[0].headers["x-window"] == "window-of-opportunity"
    assert by_path.received[0].target == "/v1/chat/completions?window-x=1"


def test_a_scoped_key_reads_nothing_that_is_not_in_its_scope(guarded, by_path, ask):
    running = guarded(paths=["/v1/engines/*"])
    keys = [
        running.key("models", models=["m"])[1],
        running.key("tasks", tasks=["other"])[1],
    ]
    for secret in keys:
        for method, path in (
            ("GET", "/v1/files/abc/content"),
            ("GET", "/v1/responses/resp_other"),
            ("HEAD", "/v1/files"),
            ("DELETE", "/v1/models/m"),
            ("GET", "/v1/models/gpt-9"),
            ("POST", "/v1/threads/t/runs"),
            ("POST", "/v1/batches"),
            ("POST", "/v1/engines/gpt/completions"),
        ):
            fields = {"model": "m"} if method == "POST" else {}
            assert ask(running, method, path, secret, **fields).status == 403, path
        assert ask(running, "GET", "/v1/models", secret).status == 200
    assert ask(running, "GET", "/v1/models/m", keys[0]).status == 200
    _, whole = running.key("whole")
    assert ask(running, "GET", "/v1/files/abc/content", whole).status == 200
    assert len(by_path.received) == 4


def test_what_names_no_model_counts_against_rate_limit_and_budget(guarded, by_path, ask):
    running = guarded()
    key, poor = running.key("poor", budget=0.01)
    running.access.charge(key, 1, 10_000)
    for number, path in enumerate(("/v1/models", "/v1/models/m", "/v1/files/f")):
        _, slow = running.key(f"slow {number}", requests_per_minute=2)
        assert [ask(running, "GET", path, slow).status for _ in range(4)] == [200, 200, 429, 429]
        assert ask(running, "GET", path, poor).status == 429
    assert len(by_path.received) == 6


@pytest.mark.parametrize("path", ["/v1", "/", "//", "/openai", "/v1/v1"])
def test_a_base_url_alone_is_no_place(path):
    assert find_place(path.encode()) is None


PIECES = [
    *("/", "//", "v1", "openai", "deployments", "models", "files", "chat", "completions", "admin"),
    *("..", ".", "%2e", "%2E%2e", "%252e", "%2f", "%5c", "\\", ";", "%3b", "%00", "%20", " "),
    *("%ef%bc%8e", "\uff0e", "%c0%ae", "%09", "a", "%", "%25", "*", "?"),
]


@fuzz(st.lists(st.sampled_from(PIECES), max_size=12), short=300, long=20_000)
def test_no_path_that_is_forwarded_leads_elsewhere_once_it_is_normalised(pieces):
    place = find_place("".join(["/", *pieces]).encode())
    if place is None or not place.kind:
        return
    roots = {row.partition("/")[0] for row in TABLE}
    path = place.path
    for _ in range(4):
        walked = posixpath.normpath(path.replace("\\", "/").partition(";")[0]).split("/")
        assert walked[:2] == ["", "v1"]
        assert walked[2] in roots
        path = unicodedata.normalize("NFKC", unquote(path))
