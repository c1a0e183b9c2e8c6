"""The arithmetic of docs/scale.md agrees with a simulation of the same, within the margins here."""

import msgspec
import pytest

from scale_bench.arithmetic import (
    DAY_S,
    LINGER_S,
    Append,
    Costs,
    Traffic,
    backlog,
    cycle,
    kept,
    limits,
    needs,
)
from scale_bench.simulation import play_backlog, play_retention, play_writers

MADE_UP = Costs(
    student=0.4e-3, forward=0.25e-3, append=Append(4e-3, 0.1e-3), server=0.1e-3, stored=2_500.0,
    assign=0.1e-3, audit=2e-3, look=3e-3, label=1e-3,
)  # fmt: skip


@pytest.mark.parametrize("linger", LINGER_S.values(), ids=LINGER_S)
@pytest.mark.parametrize(
    ("rate", "writers"),
    [(0.5, 1), (20, 2), (200, 2), (200, 16), (2_000, 4), (2_000, 32), (6_000, 16), (8_000, 64)],
)
def test_writers_take_turns_as_computed(rate, writers, linger):
    """The share of the time and the batch within 10%, the delay within 20%."""
    append = MADE_UP.append
    found = cycle(rate, writers, append, linger)
    played = play_writers(
        rate, writers, append, linger, seconds=min(4_000.0, max(150.0, 40_000 / rate))
    )
    assert played.rate == pytest.approx(rate, rel=0.1)
    assert played.busy == pytest.approx(found.busy, rel=0.1)
    assert played.batch == pytest.approx(found.batch, rel=0.1)
    assert played.delay == pytest.approx(found.delay, rel=0.2)


def test_a_store_that_cannot_keep_up_is_told():
    append = MADE_UP.append
    assert cycle(1.1 * append.capacity, 16, append, 0.02) is None
    played = play_writers(1.1 * append.capacity, 16, append, 0.02, seconds=60.0)
    assert played.waiting > 0.05 * 60 * append.capacity
    assert cycle(0.9 * append.capacity, 16, append, 0.02).busy > 0.85


@pytest.mark.parametrize("share", [0.55, 0.7, 0.95, 1.1])
def test_what_waits_over_a_day_is_as_computed(share):
    """Within 2%."""
    traffic = Traffic(requests=1e8)
    capacity = share * traffic.peak * traffic.exchanges / DAY_S
    assert play_backlog(traffic, capacity) == pytest.approx(
        backlog(traffic, capacity), rel=0.02, abs=1.0
    )


def test_what_is_kept_is_as_computed():
    """Within 1%."""
    traffic = Traffic(requests=1e6, keep_days=7)
    played = play_retention(traffic, 2_500.0, days=30)
    assert played == pytest.approx(kept(2_500.0 * traffic.exchanges, 7), rel=0.01)


def test_limits_are_where_needs_reach_one():
    found = dict(limits(Traffic(requests=1e6), MADE_UP, disk=1e13))
    at = found["one gateway worker of any number"]
    assert needs(Traffic(requests=at), MADE_UP).gateway_cores == pytest.approx(1.0)
    at = found["one learner of any number, with one core"]
    assert needs(Traffic(requests=at), MADE_UP).learner_cores == pytest.approx(1.0, rel=0.01)
    at = found["the store's disk"]
    assert needs(Traffic(requests=at), MADE_UP).bytes_kept == pytest.approx(1e13)
    at = found["the store's writers"]
    traffic = Traffic(requests=at)
    assert traffic.exchanges / DAY_S * traffic.peak == pytest.approx(MADE_UP.append.capacity)


def test_money_adds_up():
    traffic = Traffic(requests=1e6)
    found = needs(traffic, MADE_UP)
    whole = traffic.requests * traffic.answer_dollars
    left = found.teacher_dollars + found.audit_dollars
    assert found.saved_dollars == pytest.approx(whole - left)
    nobody = needs(msgspec.structs.replace(traffic, coverage=0.0), MADE_UP)
    assert nobody.saved_dollars == 0
