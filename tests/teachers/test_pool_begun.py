"""A pool says whether a request that failed may be sent again: was anybody at work on it?"""

import asyncio

import pytest

from openwheel.errors import TeacherError
from openwheel.teachers import TeacherNotReachedError, TeacherTimeoutError
from teacher import hangs_up, silent
from teachers.pools import ask, listed, member


def test_no_connection_means_that_nobody_has_it(refusing, never_connects):
    full = {"connect_timeout": 0.1}

    async def main():
        refuses, waits = member(refusing, "a"), member(never_connects, "b", teacher=full)
        for members in ([refuses], [waits], [refuses, waits], [waits, refuses]):
            async with listed(members) as pool:
                with pytest.raises(TeacherNotReachedError):
                    await ask(pool)

    asyncio.run(main())


@pytest.mark.parametrize("order", [1, -1])
def test_one_that_broke_off_may_have_begun_whoever_else_was_not_reached(loopback, refusing, order):
    async def main():
        async with loopback(hangs_up) as broken:
            members = [member(broken.url, "broken"), member(refusing, "nobody")]
            async with listed(members[::order]) as pool:
                with pytest.raises(TeacherError) as caught:
                    await ask(pool)
                assert not isinstance(caught.value, TeacherNotReachedError)
                assert "broke off" in str(caught.value)
                assert len(broken.received) == 1

    asyncio.run(main())


def test_one_that_is_silent_may_be_at_work(loopback, refusing):
    async def main():
        async with loopback(silent) as server:
            quiet = member(server.url, "silent", teacher={"read_timeout": 0.1})
            async with listed([member(refusing, "nobody"), quiet]) as pool:
                with pytest.raises(TeacherTimeoutError) as caught:
                    await ask(pool)
                assert not isinstance(caught.value, TeacherNotReachedError)

    asyncio.run(main())


@pytest.mark.parametrize(("first", "begun"), [(503, False), (429, False), (500, True), (502, True)])
def test_a_status_tells_whether_work_was_begun(loopback, answer, first, begun):
    async def main():
        async with (
            loopback(answer(first)) as one,
            loopback(answer(503)) as other,
            listed([member(one.url, "a"), member(other.url, "b")]) as pool,
        ):
            response, _ = await ask(pool)
            assert (response.status, response.begun) == (503, begun)

    asyncio.run(main())
