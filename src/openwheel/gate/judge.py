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
    """One threshold tested, in the order of testing.

    Attributes:
        threshold: A student answers where its confidence is at least this.
        weight: Share of delta that started here.
        answered, disagreements: Counts of the first of each cluster.
        answered_with_repeats, disagreements_with_repeats: Counts of all exchanges.
        p_value: The larger of the p-values of the two pairs of counts.
        level: What it was tested at.
        passed: Whether the p-value was at most the level.
    """

    __test__ = False  # not a test case, whatever pytest thinks of its name

    threshold: float
    weight: float
    answered: int
    disagreements: int
    answered_with_repeats: int
    disagreements_with_repeats: int
    p_value: float
    level: float
    passed: bool


class Judgement(msgspec.Struct, frozen=True):
    """What the gate found.

    Attributes:
        tests: All thresholds tested, strict first.
        chosen: Index of the laxest one that passed, None if there is none.
        n: Independent calibration exchanges: the first of each cluster.
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
        tried = [test for test in self.tests if test.level > 0]
        return min(tried, key=lambda test: test.p_value / test.level, default=None)

    @property
    def bound(self) -> float:
        """Upper bound of the disagreement at :attr:`best`, at the level it was tested at."""
        if self.best is None or self.best.level <= 0:
            return 1.0
        return bound_of(self.best, self.method)


def bound_of(test: Test, method: Method) -> float:
    """Return the upper bound that inverts the test: at most epsilon exactly when it passes."""
    bound = upper_bound if method == "binomial" else anytime_upper_bound
    return max(
        bound(test.disagreements, test.answered, test.level),
        bound(test.disagreements_with_repeats, test.answered_with_repeats, test.level),
    )


def p_values_of(
    first: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    with_repeats: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    epsilon: float,
    method: Method,
) -> npt.NDArray[np.float64]:
    """Return the p-value of each threshold: the larger of those of the two ways to count.

    Args:
        first: Disagreements and answers among the first of each cluster.
        with_repeats: The same among all exchanges.
        epsilon: The most disagreement allowed.
        method: Which test.
    """
    test = binomial_p_value if method == "binomial" else anytime_p_value
    return np.maximum(test(*first, epsilon), test(*with_repeats, epsilon))


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

    With probability at least ``1 - delta`` over the draw of the exchanges, no threshold passes
    whose disagreement among answered exchanges is above ``epsilon`` (Learn Then Test with a
    fallback procedure). "Draw" can mean two things, and a threshold passes only if it does under
    both: clusters are drawn independently, so that a cluster speaks once however often it repeats;
    or exchanges are, so that an input sent a hundred times weighs a hundred times. Counting
    clusters alone would let one input that fills a tenth of the traffic and is always wrong count
    as one disagreement; counting exchanges alone takes a burst of repeats for independent evidence.

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
    all_answered, all_disagreements = _counts(confidence, agrees, thresholds)
    p_values = p_values_of(
        (disagreements, answered), (all_disagreements, all_answered), epsilon, method
    )
    passed, levels = fallback(p_values, np.array(plan.weights), delta)
    eligible = np.flatnonzero(passed)
    chosen = int(eligible[-1]) if len(eligible) else None
    return Judgement(
        tests=tuple(
            Test(
                threshold=float(thresholds[i]),
                weight=float(plan.weights[i]),
                answered=int(answered[i]),
                disagreements=int(disagreements[i]),
                answered_with_repeats=int(all_answered[i]),
                disagreements_with_repeats=int(all_disagreements[i]),
                p_value=float(p_values[i]),
                level=float(levels[i]),
                passed=bool(passed[i]),
            )
            for i in range(len(thresholds))
        ),
        chosen=chosen,
        n=len(evidence),
        exchanges=len(confidence),
        repeat_disagreement=(
            float(all_disagreements[chosen] / all_answered[chosen]) if chosen is not None else 0.0
        ),
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
