import asyncio

import pytest

from openwheel.errors import SettingError, TeacherError
from openwheel.teachers import HttpTeacher, TeacherRequest, TeacherTimeoutError
from teacher import Teacher, respond, silent


@pytest.fixture
def server():
    """An endpoint that answers with the path it was asked for; ``/slow`` never does."""

    async def answer(asked, writer):
        if asked.path.endswith("/slow"):
            await silent(asked, writer)
        body, moved = asked.target.encode(), asked.path.endswith("/moved")
        writer.write(
            respond(body, "location: /v1/elsewhere", status=307) if moved else respond(body)
        )

    with Teacher(answer) as teacher:
        yield teacher.origin


def get(teacher, path):
    async def send():
        async with teacher:
            response = await teacher.send(TeacherRequest("GET", path, [], b""))
            return response, b"".join([chunk async for chunk in response.chunks])

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("base", "path", "asked"),
    [
        ("", "/v1/models", "/v1/models"),
        ("/", "/v1/models", "/v1/models"),
        ("/v1", "/v1/models", "/v1/models"),
        ("/v1/", "/v1/models?limit=1", "/v1/models?limit=1"),
        ("/api/v1", "/v1/a%2Fb", "/api/v1/a%2Fb"),
        ("/v1beta/openai/", "/v1/models", "/v1beta/openai/models"),
    ],
)
def test_base_url_stands_for_v1(server, base, path, asked):
    assert get(HttpTeacher(server + base), path)[1] == asked.encode()


def test_redirects_are_the_clients_to_follow(server):
    response, _ = get(HttpTeacher(server), "/v1/moved")
    assert response.status == 307
    assert (b"location", b"/v1/elsewhere") in response.headers


def test_too_slow(server):
    with pytest.raises(TeacherTimeoutError, match=r"127\.0\.0\.1:\d+ did not answer in time"):
        get(HttpTeacher(server, read_timeout=0.1), "/v1/slow")


def test_unreachable():
    with pytest.raises(TeacherError, match=r"127\.0\.0\.1:1 could not be reached"):
        get(HttpTeacher("http://127.0.0.1:1"), "/v1/models")
    with pytest.raises(TeacherError, match=r"nowhere\.invalid could not be reached"):
        get(HttpTeacher("http://nowhere.invalid"), "/v1/models")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "must look like"),
        ("ftp://x/v1", "must look like"),
        ("", "must look like"),
        ("http://x:port/", "not a URL"),
        ("http://[::1/v1", "not a URL"),
        ("http://me:hunter2@x/v1", "credentials"),
        ("http://x/v1?key=hunter2", "query"),
        ("me:hunter2@x", "must look like"),
    ],
)
def test_bad_urls_name_the_fault_and_no_secret(url, message):
    with pytest.raises(SettingError, match=message) as caught:
        HttpTeacher(url)
    assert "hunter2" not in str(caught.value)


def test_key_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(SettingError, match="THE_KEY"):
        HttpTeacher("http://x/v1", key_env="THE_KEY")
    monkeypatch.setenv("THE_KEY", "hunter2\nx")
    with pytest.raises(SettingError, match="printable") as caught:
        HttpTeacher("http://x/v1", key_env="THE_KEY")
    assert "hunter2" not in str(caught.value)


def asked(loopback, answer, make, *, headers=(), path="/v1/messages"):
    """Send one request, and return it as the server received it."""

    async def main():
        async with loopback(answer()) as up, make(up.origin) as teacher:
            response = await teacher.send(TeacherRequest("POST", path, list(headers), b"{}"))
            assert [chunk async for chunk in response.chunks] == [b"{}"]
            return up.received[0]

    return asyncio.run(main())


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_an_anthropic_teacher_gets_its_key_and_a_version(loopback, answer, monkeypatch, path):
    monkeypatch.setenv("THE_KEY", "sk-ant")
    request = asked(
        loopback,
        answer,
        lambda url: HttpTeacher(url + path, api="anthropic", key_env="THE_KEY"),
        headers=[(b"authorization", b"Bearer client's"), (b"anthropic-beta", b"b1")],
    )
    assert request.line == "POST /v1/messages HTTP/1.1"
    assert request.headers["x-api-key"] == "sk-ant"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["anthropic-beta"] == "b1"
    assert "authorization" not in request.headers


def test_the_clients_anthropic_version_stays(loopback, answer):
    request = asked(
        loopback,
        answer,
        lambda url: HttpTeacher(url + "/anthropic", api="anthropic"),
        headers=[(b"anthropic-version", b"2027-01-01"), (b"x-api-key", b"client's")],
    )
    assert request.line == "POST /anthropic/v1/messages HTTP/1.1"
    assert request.headers["anthropic-version"] == "2027-01-01"
    assert request.headers["x-api-key"] == "client's"


@pytest.mark.parametrize("api", ["openai", "anthropic"])
@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key", "cookie"])
def test_the_gateways_own_keys_do_not_reach_a_teacher(loopback, answer, api, name):
    request = asked(
        loopback,
        answer,
        lambda url: HttpTeacher(url, api=api, keep_credentials=False),
        headers=[(name.encode(), b"ow-secret"), (b"x-other", b"1")],
    )
    assert "ow-secret" not in str(request.headers)
    assert request.headers["x-other"] == "1"


def test_the_response_says_who_answered(loopback, answer):
    async def main():
        async with loopback(answer()) as up:
            for name in ("", "big"):
                async with HttpTeacher(up.url, name=name) as teacher:
                    response = await teacher.send(TeacherRequest("GET", "/v1/models", [], b""))
                    assert response.teacher == (name or up.origin.removeprefix("http://"))
                    response.close()

    asyncio.run(main())


def test_it_can_be_used_again_once_closed_on_another_event_loop_too(server):
    teacher = HttpTeacher(server)
    for _ in range(2):
        assert get(teacher, "/v1/models")[1] == b"/v1/models"


def models(loopback, written, **settings):
    """Return the models, and the request that asked for them."""

    async def main():
        async with loopback(written) as up, HttpTeacher(up.url, **settings) as teacher:
            return await teacher.models(), up.received[0]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"b","owned_by":"x"}]}', ["a", "b"]),
        (b'{"object":"list","data":null}', []),
        (b'[{"id":"a"}]', ["a"]),
    ],
)
def test_models_it_lists(loopback, answer, monkeypatch, body, found):
    monkeypatch.setenv("THE_KEY", "k1")
    names, request = models(loopback, answer(200, body), key_env="THE_KEY")
    assert names == found
    assert request.line.startswith("GET /v1/models ")
    assert request.headers["authorization"] == "Bearer k1"


def test_models_an_anthropic_teacher_lists(loopback, answer, monkeypatch):
    monkeypatch.setenv("THE_KEY", "k1")
    written = answer(200, b'{"data":[{"type":"model","id":"claude-5"}],"has_more":false}')
    names, request = models(loopback, written, key_env="THE_KEY", api="anthropic")
    assert names == ["claude-5"]
    assert request.line.startswith("GET /v1/models?limit=1000 ")
    assert request.headers["x-api-key"] == "k1"


@pytest.mark.parametrize(
    ("status", "body", "key_env", "message"),
    [
        (401, b"{}", "THE_KEY", r"refuses the key in THE_KEY \(status 401\)"),
        (401, b"{}", None, "wants a key .* no key_env is set"),
        (404, b"{}", None, "the URL must be the one"),
        (503, b"{}", None, "with status 503"),
        (200, b"<html>hello</html>", None, "something else than a list of models"),
        (200, b'{"data":[{"name":"a"}]}', None, "something else than a list of models"),
    ],
)
def test_why_it_lists_no_models(loopback, answer, monkeypatch, status, body, key_env, message):
    monkeypatch.setenv("THE_KEY", "hunter2")
    with pytest.raises(TeacherError, match=message) as caught:
        models(loopback, answer(status, body), key_env=key_env)
    assert "127.0.0.1:" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_unreachable_teacher_lists_no_models(refusing):
    async def main():
        async with HttpTeacher(refusing) as teacher:
            with pytest.raises(TeacherError, match="could not be reached"):
                await teacher.models()

    asyncio.run(main())
