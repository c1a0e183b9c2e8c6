"""A pool of teachers: whom it asks, whom it asks next, and what it passes on."""

import asyncio
import json
import random
from collections import Counter

import pytest

from openwheel.endpoints import (
    HttpTeacher,
    Member,
    RecordedTeacher,
    TeacherPool,
    TeacherTimeoutError,
)
from openwheel.errors import SettingError, TeacherError

CHAT = "/v1/chat/completions"
SEVERAL = [429, 500, 502, 503, 504, 529]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def member(url, name, *, teacher=None, **fields):
    settings = teacher or {}
    api = fields.get("api", "openai")
    return Member(HttpTeacher(url, name=name, api=api, **settings), name, **fields)


def same():
    """Draw what leaves members of one weight in listed order."""
    return 0.5


def listed(members, **settings):
    """Make a pool that asks ready members of one weight in listed order."""
    return TeacherPool(members, rng=same, **settings)


async def ask(pool, path=CHAT, method="POST", body=b"{}", headers=(), model="m"):
    response = await pool.send(method, path, list(headers), body, model=model)
    try:
        return response, b"".join([chunk async for chunk in response.chunks])
    finally:
        response.close()


async def who(pool, *args, **settings):
    return (await ask(pool, *args, **settings))[0].teacher


def test_a_refused_connection_fails_over(loopback, answer, refusing):
    async def main():
        async with (
            loopback(answer(200, b"b")) as up,
            listed([member(refusing, "a"), member(up.url, "b")]) as pool,
        ):
            response, body = await ask(pool, body=b'{"model":"m"}')
            assert (response.teacher, response.status, body) == ("b", 200, b"b")
            assert [r.body for r in up.received] == [b'{"model":"m"}']
            a, b = pool.health()
            assert (a.requests, a.errors, a.failures) == (1, 1, 1)
            assert "could not be reached" in a.last_error
            assert (b.requests, b.errors, b.last_error) == (1, 0, "")

    asyncio.run(main())


def test_a_connection_that_is_not_made_in_time_fails_over(loopback, answer, never_connects):
    async def main():
        slow = member(never_connects, "a", teacher={"connect_timeout": 0.1})
        async with loopback(answer()) as up, listed([slow, member(up.url, "b")]) as pool:
            assert await who(pool) == "b"
            assert "in time" in pool.health()[0].last_error

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "answered_by"), [(s, "b") for s in SEVERAL] + [(s, "a") for s in (400, 401, 404)]
)
def test_what_another_teacher_may_do_better_fails_over(loopback, answer, status, answered_by):
    async def main():
        async with (
            loopback(answer(status)) as bad,
            loopback(answer()) as good,
            listed([member(bad.url, "a"), member(good.url, "b")]) as pool,
        ):
            assert await who(pool) == answered_by
            assert len(bad.received) == 1

    asyncio.run(main())


def test_breaking_off_before_the_head_fails_over(loopback, answer):
    async def hang_up(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-ty")
        writer.close()

    async def main():
        async with (
            loopback(hang_up) as bad,
            loopback(answer()) as good,
            listed([member(bad.url, "a"), member(good.url, "b")]) as pool,
        ):
            assert await who(pool) == "b"

    asyncio.run(main())


def test_when_all_fail_the_last_response_is_passed_on_as_it_came(loopback, answer):
    raw = b' {"error": \n "b\xc3\xbcsy"}  '

    async def stalls(_, writer):
        writer.write(b"HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nhalf")

    async def main():
        async with (
            loopback(stalls) as first,
            loopback(answer(529, raw, "x-request-id: r7", "retry-after: 3")) as last,
            listed([member(first.url, "a"), member(last.url, "b")]) as pool,
        ):
            response, body = await ask(pool)
            assert (response.status, response.teacher, body) == (529, "b", raw)
            assert (b"x-request-id", b"r7") in response.headers
            assert (b"retry-after", b"3") in response.headers
            await asyncio.wait_for(first.disconnected.wait(), 5)

    asyncio.run(main())


def test_a_real_response_is_better_than_an_error(loopback, answer, refusing):
    async def main():
        async with (
            loopback(answer(503, b"sorry")) as up,
            listed([member(up.url, "a"), member(refusing, "b")]) as pool,
        ):
            response, body = await ask(pool)
            assert (response.status, response.teacher, body) == (503, "a", b"sorry")

    asyncio.run(main())


def test_where_none_responds_the_last_error_is_raised(refusing, never_connects):
    async def main():
        slow = member(never_connects, "b", teacher={"connect_timeout": 0.1})
        async with listed([member(refusing, "a"), slow]) as pool:
            with pytest.raises(TeacherTimeoutError, match="in time"):
                await ask(pool)
            assert [m.requests for m in pool.health()] == [1, 1]

    asyncio.run(main())


def test_one_that_may_be_at_work_on_a_request_is_not_replaced(loopback, answer):
    async def thinks(_, writer):
        await asyncio.sleep(10)

    async def main():
        async with loopback(answer()) as other:
            server = loopback(thinks)
            async with server as busy:
                slow = member(busy.url, "a", teacher={"read_timeout": 0.1})
                async with listed([slow, member(other.url, "b")]) as pool:
                    with pytest.raises(TeacherTimeoutError):
                        await ask(pool)
                    assert other.received == []
                    assert pool.health()[0].failures == 1

    asyncio.run(main())


def test_a_client_that_goes_away_leaves_no_response_open(loopback, answer):
    async def stalls(_, writer):
        writer.write(b"HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nhalf")

    async def thinks(_, writer):
        await asyncio.sleep(10)

    async def main():
        async with (
            loopback(stalls) as first,
            loopback(thinks) as second,
            listed([member(first.url, "a"), member(second.url, "b")]) as pool,
        ):
            request = asyncio.create_task(ask(pool))
            while not second.received:
                await asyncio.sleep(0.001)
            assert not first.disconnected.is_set()
            request.cancel()
            await asyncio.wait([request])
            await first.disconnected.wait()
            assert [m.failures for m in pool.health()] == [1, 0]

    asyncio.run(asyncio.wait_for(main(), 5))


def test_one_candidates_response_is_its_own(loopback, answer):
    async def main():
        async with (
            loopback(answer(503, b"busy")) as up,
            loopback(answer()) as other,
            listed(
                [member(up.url, "a", models=("m",)), member(other.url, "b", models=("n",))]
            ) as p,
        ):
            response, body = await ask(p, model="m")
            assert (response.status, body) == (503, b"busy")
            assert len(up.received) == 1
            assert other.received == []

    asyncio.run(main())


def test_retries_come_after_the_others_have_failed(loopback, answer):
    async def main():
        async with loopback(b"") as first, loopback(answer(503)) as second:

            async def recovers(_, writer):
                writer.write(answer(200 if second.received else 500))

            first.answer = recovers
            members = [member(first.url, "a", retries=1), member(second.url, "b")]
            async with listed(members) as pool:
                assert await who(pool) == "a"
                assert (len(first.received), len(second.received)) == (2, 1)

    asyncio.run(main())


def test_one_that_says_when_to_come_back_is_not_retried_before(loopback, answer):
    async def main():
        async with (
            loopback(answer(429, b"later", "retry-after: 9")) as up,
            TeacherPool([member(up.url, "a", retries=3)]) as pool,
        ):
            assert (await ask(pool))[1] == b"later"
            assert len(up.received) == 1

    asyncio.run(main())


def broken_stream():
    async def script(_, writer):
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"5\r\nfirst\r\n")
        await writer.drain()
        writer.close()

    return script


def test_a_stream_that_breaks_is_not_begun_anew_but_counts(loopback, answer):
    async def main():
        async with (
            loopback(broken_stream()) as bad,
            loopback(answer()) as good,
            listed([member(bad.url, "a"), member(good.url, "b")]) as pool,
        ):
            for _ in range(3):
                response = await pool.send("POST", CHAT, [], b"{}", model="m")
                assert await anext(response.chunks) == b"first"
                with pytest.raises(TeacherError, match="broke off"):
                    await anext(response.chunks)
                response.close()
            assert good.received == []
            broken = pool.health()[0]
            assert (broken.failures, broken.errors) == (3, 3)
            assert broken.resting_s > 0
            assert await who(pool) == "b"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["retry-after: 7"], 7),
        (["retry-after-ms: 1500", "retry-after: 2"], 1.5),
        (["retry-after: 3600"], 60),
        (
            [
                "date: Sat, 21 Nov 2026 10:00:00 GMT",
                "retry-after: Sat, 21 Nov 2026 10:00:20 GMT",
            ],
            20,
        ),
        (["retry-after: soon"], 0),
        (["retry-after: -5"], 0),
        ([], 0),
    ],
)
def test_a_teacher_that_says_when_to_come_back_is_left_alone_until_then(
    loopback, answer, headers, seconds
):
    async def main():
        clock = Clock()
        async with (
            loopback(answer(429, b"", *headers)) as full,
            loopback(answer()) as other,
            listed([member(full.url, "a"), member(other.url, "b")], clock=clock) as pool,
        ):
            assert await who(pool) == "b"
            assert pool.health()[0].resting_s == pytest.approx(seconds)
            assert pool.health()[0].failures == 0
            full.answer = answer()
            if seconds:
                clock.now += seconds - 0.01
                assert await who(pool) == "b"
                assert len(full.received) == 1
                clock.now += 0.02
            assert await who(pool) == "a"

    asyncio.run(main())


def test_weights_say_how_often_each_is_asked():
    members = [Member(RecordedTeacher([]), "a", weight=6), Member(RecordedTeacher([]), "b")]
    members.append(Member(RecordedTeacher([]), "c", weight=3))

    async def main():
        pool = TeacherPool(members, rng=random.Random(1).random)
        asked = Counter([await who(pool) for _ in range(3000)])
        assert 0.55 < asked["a"] / 3000 < 0.65
        assert 0.07 < asked["b"] / 3000 < 0.13
        assert 0.25 < asked["c"] / 3000 < 0.35

    asyncio.run(main())


def test_weights_hold_for_whom_to_ask_next(loopback, answer):
    async def main():
        async with (
            loopback(answer(503)) as down,
            TeacherPool(
                [
                    member(down.url, "down", weight=1e9),
                    Member(RecordedTeacher([]), "b", weight=4),
                    Member(RecordedTeacher([]), "c"),
                ],
                rng=random.Random(2).random,
            ) as pool,
        ):
            asked = Counter([await who(pool) for _ in range(600)])
            assert asked["down"] == 0
            assert 0.7 < asked["b"] / 600 < 0.9

    asyncio.run(main())


def test_a_failing_teacher_rests_longer_each_time_and_returns_when_it_answers(loopback, answer):
    async def main():
        clock = Clock()
        async with (
            loopback(answer(500)) as bad,
            loopback(answer()) as good,
            listed([member(bad.url, "a"), member(good.url, "b")], clock=clock) as pool,
        ):
            rests = []
            for _ in range(3):
                assert await who(pool) == "b"
            for _ in range(6):
                rests.append(pool.health()[0].resting_s)
                count = len(bad.received)
                assert await who(pool) == "b"
                assert len(bad.received) == count  # at rest: not asked
                clock.now += rests[-1] + 0.001
                assert await who(pool) == "b"
                assert len(bad.received) == count + 1  # rested: asked once more, in vain
            assert rests == [5, 10, 20, 40, 60, 60]
            clock.now += 61
            bad.answer = answer()
            assert [await who(pool) for _ in range(2)] == ["a", "a"]
            assert pool.health()[0].failures == 0
            bad.answer = answer(500)
            for _ in range(3):
                await who(pool)
            assert pool.health()[0].resting_s == 5

    asyncio.run(main())


def test_after_a_rest_one_request_at_a_time_tries(loopback, answer):
    async def main():
        clock, go_on = Clock(), asyncio.Event()

        async def waits(_, writer):
            await go_on.wait()
            writer.write(answer())

        async with (
            loopback(answer(500)) as bad,
            loopback(answer()) as good,
            listed([member(bad.url, "a"), member(good.url, "b")], clock=clock) as pool,
        ):
            for _ in range(3):
                await who(pool)
            clock.now += 6
            bad.answer = waits
            probe = asyncio.create_task(who(pool))
            while len(bad.received) < 4:
                await asyncio.sleep(0.001)
            assert [await who(pool) for _ in range(4)] == ["b"] * 4
            probe.cancel()  # a client that goes away proves nothing, and holds nothing up
            await asyncio.wait([probe])
            go_on.set()
            assert [await who(pool) for _ in range(2)] == ["a", "a"]

    asyncio.run(asyncio.wait_for(main(), 5))


def test_when_all_are_at_rest_the_soonest_to_recover_is_tried_first(loopback, answer):
    async def main():
        clock = Clock()
        async with (
            loopback(answer(429, b"", "retry-after: 30")) as late,
            loopback(answer(429, b"", "retry-after: 10")) as soon,
            listed([member(late.url, "late"), member(soon.url, "soon")], clock=clock) as pool,
        ):
            assert (await ask(pool))[0].status == 429
            clock.now += 1
            late.answer = soon.answer = answer()
            assert await who(pool) == "soon"
            assert pool.health()[1].resting_s == 0

    asyncio.run(main())


def test_many_that_fail_at_once_are_one_reason_to_rest(loopback, answer):
    async def main():
        clock, all_there = Clock(), asyncio.Event()

        async def dies(_, writer):
            if len(down.received) == 20:
                all_there.set()
            await all_there.wait()
            writer.close()

        async with loopback(dies) as down, TeacherPool([member(down.url, "a")], clock=clock) as p:
            results = await asyncio.gather(*(ask(p) for _ in range(20)), return_exceptions=True)
            assert all(isinstance(result, TeacherError) for result in results)
            health = p.health()[0]
            assert (health.failures, health.errors, health.resting_s) == (20, 20, 5)

    asyncio.run(main())


def test_a_storm_of_429_reaches_every_client_and_leaves_no_trace(loopback, answer):
    async def main():
        clock = Clock()
        full = answer(429, b"full", "retry-after: 1")
        async with (
            loopback(full) as a,
            loopback(full) as b,
            listed([member(a.url, "a"), member(b.url, "b")], clock=clock) as pool,
        ):
            answers = await asyncio.gather(*(ask(pool) for _ in range(50)))
            assert {(r.status, body) for r, body in answers} == {(429, b"full")}
            assert len(a.received) == len(b.received) == 50
            a.answer = b.answer = answer()
            clock.now += 2
            assert [await who(pool) for _ in range(3)] == ["a", "a", "a"]
            assert [(m.failures, m.errors) for m in pool.health()] == [(0, 50), (0, 50)]

    asyncio.run(main())


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
            await asyncio.wait_for(up.disconnected.wait(), 5)
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
