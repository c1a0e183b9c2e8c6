"""Which slot answers a request, and who waits."""

import asyncio
import contextlib

import pytest

from openwheel.inference.slots import Slots, SlotsFullError


def test_requests_that_begin_alike_keep_their_slot_and_open_no_other():
    async def run():
        slots = Slots(3, 10)
        taken = []
        for key in ("a", "a", "b", "a", "b", "a"):
            async with slots.take(key) as slot:
                taken.append(slot)
        assert taken == [0, 0, 1, 0, 1, 0]
        async with slots.take("a") as first, slots.take("a") as second:
            assert (first, second) == (0, 2)  # busy: another, unused so far
        async with slots.take("c") as other:
            assert other == 1  # the one unused for longest
        assert slots.busy == 0

    asyncio.run(run())


def test_more_wait_in_turn_and_too_many_are_refused():
    async def run():
        slots, done = Slots(1, 2), []

        async def hold(name, gate):
            async with slots.take(name):
                await gate.wait()
                done.append(name)

        gate = asyncio.Event()
        held = [asyncio.create_task(hold(name, gate)) for name in "abc"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(SlotsFullError, match="2 requests wait already"):
            async with slots.take("d"):
                pass
        held[1].cancel()  # one that gave up leaves its place
        with contextlib.suppress(asyncio.CancelledError):
            await held[1]
        gate.set()
        await asyncio.gather(held[0], held[2])
        assert done == ["a", "c"]
        assert slots.busy == 0

    asyncio.run(run())
