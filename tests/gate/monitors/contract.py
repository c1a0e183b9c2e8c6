"""What every monitor must do, whatever it looks for.

``check_monitor(subject)`` runs every check; ``CHECKS`` lists them, so that tests can name the one
that fails.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from openwheel.gate import clopper_pearson
from openwheel.gate.monitors import Monitor

ANSWERS = 400
"""Answers in a run of the false-alarm check."""

RUNS = 80


class Subject(NamedTuple):
    """A monitor to check.

    Attributes:
        name: For the test's name.
        make: Make a new one, which may have seen what it learns from.
        rate: A mean loss at which nothing is wrong, the least favourable one.
        false_alarms: What its promise allows as the chance of an alarm within ``ANSWERS``.
        weighted: Whether it takes floors.
    """

    name: str
    make: Callable[[], Monitor]
    rate: float
    false_alarms: float
    weighted: bool


def sample(weighted: bool, n: int = 300) -> tuple[Any, Any, Any]:
    """Losses of all kinds with the probabilities and floors of their audits."""
    rng = np.random.default_rng(7)
    losses = rng.choice([0.0, 0.0, 0.0, 0.3, 1.0], n)
    probabilities = rng.uniform(0.1, 1.0, n)
    return losses, probabilities, np.full(n, 0.1) if weighted else None


def saved(monitor: Monitor) -> str:
    """Return a monitor as JSON; every number in it must be one."""
    return json.dumps(msgspec.to_builtins(monitor), allow_nan=False)


def check_nothing_seen(subject: Subject) -> None:
    monitor = subject.make()
    assert not monitor.alarm
    assert monitor.alarmed_at is None
    assert math.isfinite(monitor.evidence)
    assert monitor.evidence < monitor.limit
    assert monitor.update([]) == monitor
    assert monitor.update(np.zeros(0), np.zeros(0)) == monitor


def check_batch_equals_one_by_one(subject: Subject) -> None:
    losses, probabilities, floors = sample(subject.weighted)
    whole = subject.make().update(losses, probabilities, floors)
    one = subject.make()
    for i in range(len(losses)):
        one = one.update(losses[i], probabilities[i], None if floors is None else floors[i])
    assert one == whole
    halves = subject.make()
    for part in (slice(0, 123), slice(123, None)):
        halves = halves.update(
            losses[part], probabilities[part], None if floors is None else floors[part]
        )
    assert halves == whole


def check_state_survives_a_kill(subject: Subject) -> None:
    losses, probabilities, floors = sample(subject.weighted)
    for cut in (0, 1, 150, 299):
        before, after = slice(0, cut), slice(cut, None)
        kept = subject.make().update(
            losses[before], probabilities[before], None if floors is None else floors[before]
        )
        loaded = msgspec.json.decode(saved(kept), type=type(kept))
        assert loaded == kept
        assert (loaded.alarm, loaded.evidence) == (kept.alarm, kept.evidence)
        rest = (losses[after], probabilities[after], None if floors is None else floors[after])
        assert loaded.update(*rest) == kept.update(*rest)


def check_an_update_changes_nothing_but_its_result(subject: Subject) -> None:
    monitor = subject.make()
    before = msgspec.to_builtins(monitor)
    monitor.update([1.0] * 20)
    assert msgspec.to_builtins(monitor) == before


def check_counts(subject: Subject) -> None:
    losses, probabilities, floors = sample(subject.weighted)
    start = subject.make().seen
    seen = subject.make().update(losses, probabilities, floors).seen
    weights = np.ones(len(losses)) if floors is None else floors / probabilities
    assert seen.answers - start.answers == len(losses)
    assert seen.loss - start.loss == pytest.approx(losses.sum())
    assert seen.weight - start.weight == pytest.approx(weights.sum())
    assert seen.weighted_loss - start.weighted_loss == pytest.approx((weights * losses).sum())


def check_all_wrong_is_noticed_and_stays(subject: Subject) -> None:
    monitor = subject.make()
    alarmed = monitor.update(np.ones(200))
    assert alarmed.alarm
    assert alarmed.alarmed_at is not None
    assert alarmed.alarmed_at <= monitor.seen.answers + 60
    assert alarmed.evidence >= alarmed.limit - 1e-9
    later = alarmed.update(np.zeros(3_000))
    assert later.alarm
    assert later.alarmed_at == alarmed.alarmed_at
    assert later.seen.answers == monitor.seen.answers + 3_200


def check_alarm_comes_with_the_evidence(subject: Subject) -> None:
    monitor = subject.make()
    for _ in range(200):
        monitor = monitor.update(1.0)
        assert monitor.alarm == (monitor.evidence >= monitor.limit - 1e-9)
        if monitor.alarm:
            break
    assert monitor.alarmed_at == monitor.seen.answers


def check_nothing_wrong_for_long(subject: Subject) -> None:
    """Zeros are no alarm, and the numbers neither vanish nor grow without end."""
    monitor = subject.make().update(np.zeros(5_000))
    assert not monitor.alarm
    assert math.isfinite(monitor.evidence)
    assert len(saved(monitor)) < 4_000


def check_small_probabilities(subject: Subject) -> None:
    rng = np.random.default_rng(3)
    probabilities = 10.0 ** rng.uniform(-300, 0, 300)
    floors = probabilities * 10.0 ** rng.uniform(-20, 0, 300) if subject.weighted else None
    losses = rng.choice([0.0, 1e-300, 0.5, 1.0], 300)
    monitor = subject.make().update(losses, probabilities, floors)
    assert math.isfinite(monitor.evidence)
    saved(monitor)


def check_refuses_what_is_out_of_range(subject: Subject) -> None:
    monitor = subject.make()
    for wrong in (-0.1, 1.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"a loss must be in \[0, 1\], was"):
            monitor.update([0.0, wrong])
    for wrong in (0.0, -0.5, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"a probability must be in \(0, 1\], was"):
            monitor.update([0.0, 0.0], [1.0, wrong])
    for wrong in (0.0, 0.6, math.nan):
        with pytest.raises(ValueError, match="a floor must be above 0 and at most its probability"):
            monitor.update([0.0], [0.5], [wrong])
    with pytest.raises(ValueError, match="one for each of 3 losses"):
        monitor.update([0.0, 0.0, 0.0], [0.5, 0.5])


def check_false_alarms(subject: Subject) -> None:
    """At the least favourable rate, with an audit share that follows the past."""
    alarms = 0
    for run in range(RUNS):
        rng = np.random.default_rng([11, run])
        losses = (rng.random(ANSWERS) < subject.rate).astype(float)
        # Ten times as many audits after a disagreement.
        shares = np.where(np.append(0.0, losses[:-1]) > 0, 0.5, 0.05)
        alarms += subject.make().update(losses, shares).alarm
    assert clopper_pearson(alarms, RUNS, 0.999)[0] <= subject.false_alarms


CHECKS: list[Callable[[Subject], None]] = [
    check_nothing_seen,
    check_batch_equals_one_by_one,
    check_state_survives_a_kill,
    check_an_update_changes_nothing_but_its_result,
    check_counts,
    check_all_wrong_is_noticed_and_stays,
    check_alarm_comes_with_the_evidence,
    check_nothing_wrong_for_long,
    check_small_probabilities,
    check_refuses_what_is_out_of_range,
    check_false_alarms,
]


def check_monitor(subject: Subject) -> None:
    """Run every check."""
    for check in CHECKS:
        check(subject)
