"""Judging a student on its calibration exchanges: the one place where labels meet thresholds."""

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.gate.bounds import (
    anytime_p_value,
    anytime_upper_bound,
    binomial_p_value,
    upper_bound,
)
from openwheel.gate.plan import Plan
from openwheel.gate.selection import fallback

Method = Literal["binomial", "anytime"]


class Test(msgspec.Struct, frozen=True):
    """One threshold tested, in the order of testing."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    threshold: float
    weight: float
    answered: int
    disagreements: int
    p_value: float
    level: float
    passed: bool


class Judgement(msgspec.Struct, frozen=True):
    """What the gate found.

    Attributes:
        tests: All thresholds tested, strict first.
        chosen: Index of the laxest one that passed and was not vetoed, None if there is none.
        n: Calibration exchanges that count as evidence: the first of each cluster.
        exchanges: Calibration exchanges with repeats.
        repeat_disagreement: Observed disagreement among answered exchanges, repeats included,
            at the chosen threshold.
        method: ``binomial`` (looked at once) or ``anytime`` (may be looked at again and again).
    """

    tests: tuple[Test, ...]
    chosen: int | None
    n: int
    exchanges: int
    repeat_disagreement: float
    method: Method

    @property
    def best(self) -> Test | None:
        """The chosen test, or the one nearest to passing (None when nothing was tested)."""
        if self.chosen is not None:
            return self.tests[self.chosen]
        return min(self.tests, key=lambda test: test.p_value, default=None)

    @property
    def bound(self) -> float:
        """Upper bound of the disagreement at :attr:`best`, at the level it was tested at."""
        if self.best is None or self.best.level <= 0:
            return 1.0
        return bound_of(self.best, self.method)


def bound_of(test: Test, method: Method) -> float:
    """Return the upper bound that inverts the test: at most epsilon exactly when it passes."""
    bound = upper_bound if method == "binomial" else anytime_upper_bound
    return bound(test.disagreements, test.answered, test.level)


def first_of_each(clusters: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the index of the first member of each cluster, in order of arrival.

    Exchanges of one cluster (the same input sent again, say) agree or disagree together, so a
    cluster speaks once: counting its members as independent draws would make false certificates.
    """
    return np.sort(np.unique(clusters, return_index=True)[1])


def judge(
    confidence: npt.NDArray[np.float64],
    agrees: npt.NDArray[np.bool_],
    clusters: npt.NDArray[Any],
    plan: Plan,
    *,
    epsilon: float,
    delta: float,
    method: Method = "binomial",
) -> Judgement:
    """Test the plan's thresholds on calibration exchanges.

    With probability at least ``1 - delta`` over the draw of the clusters, no threshold passes
    whose disagreement among answered exchanges is above ``epsilon`` (Learn Then Test with a
    fallback procedure). Members of a cluster beyond the first are no evidence, but can veto: a
    threshold at which the disagreement with repeats exceeds epsilon is not chosen.

    Args:
        confidence: The student's confidences, in order of arrival, shape (n,).
        agrees: Whether its answer was the teacher's, shape (n,).
        clusters: Cluster of each exchange, shape (n,), any sortable type.
        plan: What to test, made from training data alone.
        epsilon: The most disagreement allowed.
        delta: What this attempt may spend.
        method: ``anytime`` if the same student was or will be judged on part of this evidence.
    """
    thresholds = np.array(plan.thresholds)
    evidence = first_of_each(clusters)
    answered, disagreements = _counts(confidence[evidence], agrees[evidence], thresholds)
    with_repeats, wrong_repeats = _counts(confidence, agrees, thresholds)
    test = binomial_p_value if method == "binomial" else anytime_p_value
    p_values = test(disagreements, answered, epsilon)
    passed, levels = fallback(p_values, np.array(plan.weights), delta)
    repeat_rates = wrong_repeats / np.maximum(with_repeats, 1)
    eligible = np.flatnonzero(passed & (repeat_rates <= epsilon))
    chosen = int(eligible[-1]) if len(eligible) else None
    return Judgement(
        tests=tuple(
            Test(
                threshold=float(thresholds[i]),
                weight=float(plan.weights[i]),
                answered=int(answered[i]),
                disagreements=int(disagreements[i]),
                p_value=float(p_values[i]),
                level=float(levels[i]),
                passed=bool(passed[i]),
            )
            for i in range(len(thresholds))
        ),
        chosen=chosen,
        n=len(evidence),
        exchanges=len(confidence),
        repeat_disagreement=float(repeat_rates[chosen]) if chosen is not None else 0.0,
        method=method,
    )


def _counts(
    confidence: npt.NDArray[np.float64],
    agrees: npt.NDArray[np.bool_],
    thresholds: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how many are answered at each threshold, and how many of those disagree."""
    order = np.argsort(-confidence, kind="stable")
    answered = np.searchsorted(-confidence[order], -thresholds, side="right")
    wrong = np.concatenate(([0], np.cumsum(~agrees[order])))
    return answered.astype(np.int64), wrong[answered].astype(np.int64)
