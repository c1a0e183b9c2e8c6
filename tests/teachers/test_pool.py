"""A pool of teachers: what it passes on when one of them fails."""

import asyncio

import pytest

from openwheel.errors import TeacherError
from openwheel.teachers import (
    TeacherPool,
    TeacherRequest,
    TeacherTimeoutError,
)
from teacher import silent
from teachers.pools import CHAT, SEVERAL, ask, listed, member, who


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
            await asyncio.wait_for(first.left.wait(), 5)

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
    async def main():
        async with loopback(answer()) as other:
            server = loopback(silent)
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

    async def main():
        async with (
            loopback(stalls) as first,
            loopback(silent) as second,
            listed([member(first.url, "a"), member(second.url, "b")]) as pool,
        ):
            request = asyncio.create_task(ask(pool))
            while not second.received:
                await asyncio.sleep(0.001)
            assert not first.left.is_set()
            request.cancel()
            await asyncio.wait([request])
            await first.left.wait()
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
                response = await pool.send(TeacherRequest("POST", CHAT, [], b"{}", "m"))
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
