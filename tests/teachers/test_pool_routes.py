"""A pool of teachers: who may be asked for what, with which key, and lists of models."""

import asyncio
import json
import random

import pytest

from openwheel.errors import SettingError, TeacherError
from openwheel.teachers import (
    Member,
    RecordedTeacher,
    TeacherPool,
)
from teachers.pools import CHAT, ask, listed, member, who


def test_no_teacher_sees_another_ones_key_or_the_clients(loopback, answer, monkeypatch):
    monkeypatch.setenv("KEY_A", "key-of-a")
    monkeypatch.setenv("KEY_C", "key-of-c")
    credentials = [
        (b"authorization", b"Bearer secret-of-client"),
        (b"x-api-key", b"secret-of-client"),
        (b"api-key", b"secret-of-client"),
        (b"cookie", b"secret-of-client"),
    ]

    async def main():
        async with loopback(answer(503)) as a, loopback(answer(503)) as b, loopback(answer()) as c:
            members = [
                member(a.url, "a", teacher={"key_env": "KEY_A"}),
                member(b.url, "b"),
                member(c.url, "c", teacher={"key_env": "KEY_C"}),
            ]
            async with listed(members) as pool:
                headers = [*credentials, (b"x-other", b"kept")]
                assert await who(pool, headers=headers) == "c"
            seen = [up.received[0].headers for up in (a, b, c)]
            assert [s.get("authorization") for s in seen] == [
                "Bearer key-of-a",
                None,
                "Bearer key-of-c",
            ]
            assert "secret-of-client" not in str(seen)
            assert [s["x-other"] for s in seen] == ["kept"] * 3

    asyncio.run(main())


def test_a_lone_teacher_without_a_key_gets_the_clients(loopback, answer):
    async def main():
        async with loopback(answer()) as up, TeacherPool([member(up.url, "a")]) as pool:
            await ask(pool, headers=[(b"authorization", b"Bearer mine")])
            assert up.received[0].headers["authorization"] == "Bearer mine"

    asyncio.run(main())


def recorded(name, **fields):
    return Member(RecordedTeacher([]), name, **fields)


@pytest.mark.parametrize(
    ("model", "body", "teacher"),
    [
        ("gpt-5", b"", "exact"),
        ("qwen3-8b", b"", "wild"),
        ("deepseek-v4", b"", "claude"),
        ("", b'{"messages": [], "model": "qwen3-8b"}', "wild"),
        ("", b'{"messages": []}', "exact"),  # every one lists models, so the first is as good
        ("", b'{"model": 5}', "exact"),
        ("", b"no JSON", "exact"),
    ],
)
def test_the_model_says_who_may_be_asked(model, body, teacher):
    async def main():
        members = [
            recorded("exact", models=("gpt-5", "gpt-5-mini")),
            recorded("wild", models=("qwen3-*",)),
            recorded("claude", models=("claude-*", "deepseek-v4")),
        ]
        pool = listed(members)
        assert await who(pool, model=model, body=body) == teacher

    asyncio.run(main())


def test_without_a_model_those_that_take_any_are_asked():
    async def main():
        pool = TeacherPool(
            [recorded("some", models=("m",)), recorded("any"), recorded("all")],
            rng=random.Random(3).random,
        )
        assert {await who(pool, model="") for _ in range(30)} == {"any", "all"}

    asyncio.run(main())


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_model_that_none_takes_is_not_found(path):
    async def main():
        pool = TeacherPool([recorded("a", models=("gpt-5", "qwen3-*"))])
        response, body = await ask(pool, path, model="gpt-4")
        error = json.loads(body)["error"]
        assert (response.status, response.teacher) == (404, "")
        assert error["message"] == "No teacher takes the model 'gpt-4'; they take gpt-5, qwen3-*"
        if path == CHAT:
            assert (error["code"], error["type"]) == ("model_not_found", "invalid_request_error")
        else:
            assert (json.loads(body)["type"], error["type"]) == ("error", "not_found_error")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "model", "teacher"),
    [
        ("/v1/messages", "claude-5", "anthropic"),
        ("/v1/messages?beta=true", "claude-5", "anthropic"),
        ("/v1/messages/count_tokens", "claude-5", "anthropic"),
        ("/v1/messages", "qwen3", "openai"),
        (CHAT, "qwen3", "openai"),
        (CHAT, "claude-5", ""),
        ("/v1/embeddings", "qwen3", "openai"),
    ],
)
def test_the_path_says_which_api_is_meant(path, model, teacher):
    async def main():
        pool = TeacherPool(
            [
                recorded("openai", models=("qwen*",)),
                recorded("anthropic", api="anthropic", models=("claude-*",)),
            ]
        )
        assert await who(pool, path, model=model) == teacher

    asyncio.run(main())


def test_an_anthropic_teacher_alone_gets_everything():
    async def main():
        pool = TeacherPool([recorded("a", api="anthropic")])
        assert [await who(pool, path) for path in (CHAT, "/v1/messages")] == ["a", "a"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "path", "teacher"),
    [
        ("GET", "/v1/responses/resp_1", "first"),
        ("POST", "/v1/responses/resp_1/cancel", "first"),
        ("DELETE", "/v1/files/f", "first"),
        ("POST", "/v1/files", "first"),
        ("POST", "/v1/fine_tuning/jobs", "first"),
        ("POST", "/v1/something_new", "first"),
        ("GET", "/v1/messages/batches", "claude"),
        ("POST", "/v1/messages/batches", "claude"),
        ("GET", "/v1/models/qwen3", "first"),
        ("GET", "/v1/models/org%2Fother", "other"),
        ("GET", "/v1/models/claude-5", "claude"),
    ],
)
def test_what_one_teacher_keeps_is_asked_of_the_first(method, path, teacher):
    async def main():
        pool = TeacherPool(
            [
                recorded("claude", api="anthropic", models=("claude-*",)),
                recorded("first", models=("qwen3",)),
                recorded("other", models=("qwen3", "org/other"), weight=1e9),
            ]
        )
        assert {await who(pool, path, method, model="") for _ in range(5)} == {teacher}

    asyncio.run(main())


def test_what_one_teacher_keeps_is_asked_of_the_first_though_it_names_a_model():
    async def main():
        pool = TeacherPool([recorded("first"), recorded("other", weight=1e9)])
        assert await who(pool, "/v1/fine_tuning/jobs", model="qwen3") == "first"
        assert await who(pool, "/v1/rerank", model="qwen3") == "other"

    asyncio.run(main())


def model_list(*ids, **fields):
    return json.dumps({"object": "list", "data": [{"id": i, **fields} for i in ids]}).encode()


def test_lists_of_models_are_joined(loopback, answer, refusing):
    async def main():
        claude = b'{"data":[{"type":"model","id":"claude-5","display_name":"C"}],"has_more":false}'
        async with (
            loopback(answer(200, model_list("x", "y", owned_by="vllm"))) as a,
            loopback(answer(200, model_list("y", "z", "hidden", owned_by="sglang"))) as b,
            loopback(answer(200, claude)) as c,
            loopback(answer(500)) as down,
        ):
            members = [
                member(refusing, "away"),
                member(a.url, "a"),
                member(down.url, "down"),
                member(b.url, "b", models=("y", "z")),
                member(c.url, "c", api="anthropic"),
            ]
            async with TeacherPool(members) as pool:
                response, body = await ask(pool, "/v1/models?x=1", "GET", b"")
            found = json.loads(body)
            assert (response.status, found["object"]) == (200, "list")
            assert [(m["id"], m["owned_by"]) for m in found["data"]] == [
                ("x", "vllm"),
                ("y", "vllm"),
                ("z", "sglang"),
                ("claude-5", "c"),
            ]
            assert found["data"][3]["display_name"] == "C"

    asyncio.run(main())


def test_without_any_list_of_models_the_last_failure_is_passed_on(loopback, answer, refusing):
    async def main():
        async with loopback(answer(401, b"who?")) as a, loopback(answer(200, b"<html>")) as b:
            members = [member(a.url, "a"), member(b.url, "b"), member(refusing, "c")]
            async with TeacherPool(members) as pool:
                response, body = await ask(pool, "/v1/models", "GET", b"")
                assert (response.status, response.teacher, body) == (200, "b", b"<html>")
        async with TeacherPool([member(refusing, "a"), member(refusing, "b")]) as pool:
            with pytest.raises(TeacherError, match="reached"):
                await ask(pool, "/v1/models", "GET", b"")

    asyncio.run(main())


def test_one_teachers_list_of_models_passes_as_it_is(loopback, answer):
    async def main():
        raw = b'{"data": [], "more": 1}\n'
        async with loopback(answer(200, raw)) as up, TeacherPool([member(up.url, "a")]) as pool:
            assert (await ask(pool, "/v1/models?limit=1", "GET", b""))[1] == raw
            assert up.received[0].line.startswith("GET /v1/models?limit=1 ")

    asyncio.run(main())


def test_a_closed_pool_can_be_used_again(loopback, answer):
    async def main():
        async with loopback(answer()) as up:
            pool = TeacherPool([member(up.url, "a")])
            assert await who(pool) == "a"
            await pool.close()
            await asyncio.wait_for(up.left.wait(), 5)
            assert await who(pool) == "a"
            await pool.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "at least one"),
        ([recorded("a"), recorded("a")], "'a'"),
        ([recorded("a", weight=0)], "weight of teacher 'a' must be above 0, but is 0"),
        ([recorded("a", weight=float("nan"))], "weight"),
        ([recorded("a", retries=-1)], "retries"),
    ],
)
def test_settings_that_cannot_be(members, message):
    with pytest.raises(SettingError, match=message):
        TeacherPool(members)


def no_hunyuan(model):
    return f"{model} may not be asked" if "hunyuan" in model else ""


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_model_that_nobody_may_be_asked_for_is_403_and_sent_nowhere(loopback, answer, path):
    async def main():
        async with (
            loopback(answer()) as up,
            listed([member(up.url, "a", refuses=no_hunyuan)]) as pool,
        ):
            response, body = await ask(pool, path, model="hunyuan-7b")
            assert response.status == 403
            assert "hunyuan-7b may not be asked" in json.loads(body)["error"]["message"]
            named = b'{"model":"hunyuan-4b"}'  # where nobody has looked at the body yet
            assert (await ask(pool, path, body=named, model=""))[0].status == 403
            assert (await ask(pool, "/v1/files", body=named, model=""))[0].status == 403
            assert up.received == []
            assert (await ask(pool, path, model="qwen3-8b"))[0].status == 200

    asyncio.run(main())


def test_a_member_that_may_not_be_asked_for_a_model_is_passed_over(loopback, answer, refusing):
    async def main():
        models = b'{"data":[{"id":"hunyuan-7b"},{"id":"qwen3-8b"}]}'
        async with (
            loopback(answer(200, models)) as one,
            loopback(answer(200, b"{}")) as two,
            listed(
                [member(one.url, "a", refuses=no_hunyuan), member(two.url, "b", models=("hun*",))]
            ) as pool,
        ):
            assert await who(pool, model="hunyuan-7b") == "b"
            assert await who(pool, model="qwen3-8b") == "a"
            _, listing = await ask(pool, "/v1/models", "GET", model="")
            assert [found["id"] for found in json.loads(listing)["data"]] == ["qwen3-8b"]

    asyncio.run(main())
