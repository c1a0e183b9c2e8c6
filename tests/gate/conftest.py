from functools import cache

import numpy as np
import pytest

from openwheel.gate import (
    Certificate,
    Evidence,
    Slice,
    Window,
    first_of_each,
    judge,
    make_plan,
    spent,
)
from openwheel.gate.certificate import POPULATIONS, SCHEMA, ByAnswer


def exchanges(rng, n):
    """Confidences, agreements and clusters: a fifth of the exchanges repeat one before."""
    source = np.where(rng.random(n) < 0.2, rng.integers(0, n, n), np.arange(n))
    source = np.minimum(source, np.arange(n))
    rank = rng.random(n)[source]
    agrees = (rng.random(n) >= 0.24 * np.linspace(0, 1, n)[np.argsort(np.argsort(rank))] ** 2)[
        source
    ]
    return 1 - rank, agrees, source


def populations(answered, losses, first):
    """Take the first of each cluster for new, for want of a training set."""
    return tuple(
        Slice(
            name,
            int(part.sum()),
            int((answered & part).sum()),
            int((losses[answered & part] > 0).sum()),
            partial_of(losses[answered & part]),
        )
        for name, part in zip(POPULATIONS, (first, ~first), strict=True)
    )


def with_deferred(rng, plan, calibration, level):
    """Judge on the same, and three times as many that a student deferred, at a tenth's weight."""
    n = len(calibration[0])
    more = exchanges(rng, 3 * n)
    deferred = np.flatnonzero(more[0] < 0.5)
    arrays = [
        np.concatenate((known, part[deferred]))
        for known, part in zip(calibration, (more[0], 1.0 - more[1], more[2] + n), strict=True)
    ]
    unbiased = np.arange(n + len(deferred)) < n
    weights = np.where(unbiased & (arrays[0] >= 0.5), 1.0, 0.1)
    found = judge(
        *arrays,
        plan,
        epsilon=0.05,
        delta=level,
        method="anytime",
        weights=weights,
        unbiased=unbiased,
    )
    return found, Window(len(deferred), 4 * n, 9 * n, 20.0, 30.0, "d" * 64)


def partial_of(losses):
    halves = int((losses == 0.5).sum())
    return ((500, halves),) if halves else ()


@pytest.fixture(
    params=[
        "binomial",
        "anytime",
        "betting",
        pytest.param("anytime with halves", marks=pytest.mark.evidence),
        "anytime with deferred",
    ]
)
def certificate(request):
    """A certificate of a gate that passed, at a threshold between others that passed or failed."""
    return made_certificate(request.param)


@pytest.fixture
def make_certificate():
    """Make a certificate of a kind."""
    return made_certificate


@cache
def made_certificate(kind):
    method = kind.split()[0]
    halves = method == "betting" or kind.endswith("halves")
    rng = np.random.default_rng(4)
    epsilon, delta, attempt, n = 0.05, 0.1, 2, 2_000
    level = spent(delta, attempt)
    seen = exchanges(rng, 3 * n)
    plan = make_plan(seen[0], 1.0 - seen[1], epsilon=epsilon, delta=level, calibration=n)
    confidence, agrees, clusters = exchanges(rng, n)
    losses = 1.0 - agrees
    if halves:  # what repeats an input has the loss that it had
        losses *= np.where(clusters % 3, 0.5, 1.0)
    window = None
    if kind.endswith("deferred"):
        found, window = with_deferred(rng, plan, (confidence, losses, clusters), level)
    else:
        found = judge(
            confidence, losses, clusters, plan, epsilon=epsilon, delta=level, method=method
        )
    assert found.chosen is not None
    assert 0 < found.chosen < len(found.tests) - 1
    test = found.tests[found.chosen]
    first = np.isin(np.arange(n), first_of_each(clusters))
    answered = first & (confidence >= test.threshold)
    wrong, half = answered & ~agrees, np.arange(n) < n // 2
    slices = tuple(
        Slice(
            name,
            int((first & part).sum()),
            int((answered & part).sum()),
            int((wrong & part).sum()),
            partial_of(losses[wrong & part]),
        )
        for name, part in (("mill", half), ("yard", ~half))
    )
    return Certificate(
        schema=SCHEMA,
        statement="On traffic like that of the calibration window ...",
        task="0f",
        task_name="route tickets",
        student="linear-1",
        rung="linear",
        files={"model.json": "a" * 64},
        epsilon=epsilon,
        delta=delta,
        attempt=attempt,
        delta_spent=level,
        method=found.method,
        tests=found.tests,
        chosen=found.chosen,
        threshold=test.threshold,
        calibration=Evidence(found.n, test.answered, test.disagreements),
        observed=test.loss / test.answered,
        bound=found.bound,
        coverage=test.answered_with_repeats / n,
        design_effect=found.design_effect,
        populations=populations(confidence >= test.threshold, losses, first),
        unfinished=Slice("unfinished", 7, 0, 0),
        answers=(ByAnswer("mill", n - 9, test.answered - 9, test.answered - 60),),
        repeat_disagreement=found.repeat_disagreement,
        training=Window(3 * n, 1, 3 * n, 0.0, 10.5, "b" * 64),
        calibration_window=Window(n, 3 * n + 1, 4 * n, 11.0, 20.0, "c" * 64),
        slices=(*slices, Slice("lab", 0, 0, 0)),
        deferred_slices=("lab",),
        deferred_window=window,
        versions={"openwheel": "0"},
        created="2026-01-01T00:00:00+00:00",
    ).sealed()
