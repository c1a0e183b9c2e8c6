"""A pool of teachers: whom it asks next, and who rests."""

import asyncio
import random
from collections import Counter

import pytest

from openwheel.errors import TeacherError
from openwheel.teachers import (
    Member,
    RecordedTeacher,
    TeacherPool,
)
from teachers.pools import Clock, ask, listed, member, who


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
