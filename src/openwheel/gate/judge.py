"""Judging a student on its calibration exchanges: the one place where labels meet thresholds."""

import functools
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.gate.betting import (
    STEPS,
    as_counts,
    bounded_anytime_p_value,
    in_steps,
    mean_bound,
    one_look_p_value,
)
from openwheel.gate.bounds import (
    anytime_p_value,
    anytime_upper_bound,
    binomial_p_value,
    upper_bound,
)
from openwheel.gate.dependence import effect_at
from openwheel.gate.plan import Plan
from openwheel.gate.selection import fallback
from openwheel.gate.weighed import Entries, Weighed, weigh, weighed_bound

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Method = Literal["binomial", "betting", "anytime"]
"""How thresholds are tested; chosen before a label is looked at, by what losses there can be.

``binomial``: losses are 0 or 1, looked at once. ``betting``: any losses, looked at once.
``anytime``: any losses, looked at as evidence comes.
"""

Partial = tuple[tuple[int, int], ...]
"""How often each loss strictly between 0 and 1 came up: (thousandths, count), smallest first."""


EVIDENT = 0.01
"""Level at which disagreement on new inputs vetoes a threshold: evidently above epsilon."""


class Test(msgspec.Struct, frozen=True, omit_defaults=True):
    """One threshold tested, in the order of testing.

    Attributes:
        threshold: A student answers where its confidence is at least this.
        weight: Share of delta that started here.
        answered, disagreements: Counts of the first of each burst; a disagreement is an answer
            with any loss.
        answered_with_repeats, disagreements_with_repeats: Counts of all exchanges.
        p_value: The larger of the p-values of the two ways to count. All exchanges are worth as
            many independent ones as their number divided by the design effect. Where there are
            weighed counts, it is theirs.
        level: What it was tested at.
        rate: Disagreement that training expected there; half of an anytime bettor's wealth is on
            it. 0 where nothing was bet on it.
        passed: Whether the p-value was at most the level.
        partial, partial_with_repeats: Disagreements whose loss was below 1, by their loss.
        weighed, weighed_with_repeats: Where deferred requests are evidence, too: how many answers
            had which weight and loss, those of the counts above among them.
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
    partial: Partial = ()
    partial_with_repeats: Partial = ()
    rate: float = 0.0
    weighed: Entries = ()
    weighed_with_repeats: Entries = ()

    @property
    def loss(self) -> float:
        """Sum of the losses of the first of each burst."""
        return total_loss(self.disagreements, self.partial)

    @property
    def loss_with_repeats(self) -> float:
        """Sum of the losses of all exchanges."""
        return total_loss(self.disagreements_with_repeats, self.partial_with_repeats)


class Counted(NamedTuple):
    """What is answered at each threshold, strict first, counted in one way.

    Attributes:
        answered: Shape (thresholds,).
        disagreements: Those with any loss, shape (thresholds,).
        losses: How many had a loss of 0, 1, ..., 1000 thousandths, shape (thresholds, 1001); None
            where no loss lay strictly between 0 and 1, so that the two above say it all.
    """

    answered: IntArray
    disagreements: IntArray
    losses: IntArray | None

    def total(self) -> FloatArray:
        """Return the sum of losses at each threshold, shape (thresholds,)."""
        if self.losses is None:
            return self.disagreements.astype(np.float64)
        return np.asarray(self.losses @ np.arange(STEPS + 1) / STEPS)

    def all_losses(self) -> IntArray:
        """Return `losses`, written out where they are None."""
        if self.losses is not None:
            return self.losses
        counts = np.zeros((len(self.answered), STEPS + 1), np.int64)
        counts[:, 0] = self.answered - self.disagreements
        counts[:, STEPS] = self.disagreements
        return counts


class Judgement(msgspec.Struct, frozen=True):
    """What the gate found.

    Attributes:
        tests: All thresholds tested, strict first.
        chosen: Index of the laxest one that passed and that no veto holds back, None if there is
            none.
        n: Votes: calibration exchanges that are the first of their burst.
        exchanges: All calibration exchanges.
        repeat_disagreement: Observed mean loss among answered exchanges, repeats included, at the
            chosen threshold.
        weighted_disagreement: The same with each exchange standing for as many as one over its
            probability; None where all are equal.
        method: How they were tested.
        design_effect: What all exchanges were divided by.
        outweighed: Whether thresholds passed, and all were vetoed for their weighted disagreement;
            else it was for that on new inputs.
    """

    tests: tuple[Test, ...]
    chosen: int | None
    n: int
    exchanges: int
    repeat_disagreement: float
    method: Method
    weighted_disagreement: float | None = None
    design_effect: float = 1.0
    outweighed: bool = False

    @property
    def best(self) -> Test | None:
        """The chosen test, or the one nearest to passing (None when nothing was tested)."""
        if self.chosen is not None:
            return self.tests[self.chosen]
        tried = [test for test in self.tests if test.level > 0]
        return min(tried, key=lambda test: test.p_value / test.level, default=None)

    @property
    def vetoed(self) -> bool:
        """Whether thresholds passed, and a veto held every one back."""
        return self.chosen is None and any(test.passed for test in self.tests)

    @property
    def bound(self) -> float:
        """Upper bound of the disagreement at :attr:`best`, at the level it was tested at."""
        if self.best is None or self.best.level <= 0:
            return 1.0
        return bound_of(self.best, self.method, self.design_effect)


def bound_of(test: Test, method: Method, design_effect: float) -> float:
    """Return the upper bound that inverts the test: at most epsilon exactly when it passes."""
    if test.weighed_with_repeats:
        return max(
            weighed_bound(test.weighed, 1.0, test.level, test.rate),
            weighed_bound(test.weighed_with_repeats, design_effect, test.level, test.rate),
        )
    votes = as_counts(test.answered, test.disagreements, test.partial)
    exchanges = as_counts(
        test.answered_with_repeats, test.disagreements_with_repeats, test.partial_with_repeats
    )
    return max(
        _bound(votes.astype(np.float64), test.level, method, test.rate),
        _bound(exchanges / design_effect, test.level, method, test.rate),
    )


def _bound(counts: FloatArray, level: float, method: Method, rate: float) -> float:
    """Return the bound of counts by loss, shape (1001,)."""
    answered = float(counts.sum())
    if method == "binomial":
        return upper_bound(answered - float(counts[0]), answered, level)
    if method == "anytime" and not counts[1:STEPS].any():
        return anytime_upper_bound(float(counts[STEPS]), answered, level, rate)
    if method == "betting":
        return mean_bound(one_look_p_value, counts, level)
    return mean_bound(functools.partial(bounded_anytime_p_value, rate=rate), counts, level)


def p_values_of(
    first: Counted,
    with_repeats: Counted,
    epsilon: float,
    method: Method,
    design_effect: float,
    *,
    rates: Any = 0.0,
    weighed: tuple[Weighed, Weighed] | None = None,
) -> FloatArray:
    """Return the p-value of each threshold: the larger of those of the two ways to count.

    Args:
        first: Counts of the first of each burst.
        with_repeats: Counts of all exchanges.
        epsilon: The most disagreement allowed.
        method: Which test.
        design_effect: What all exchanges are divided by.
        rates: `Test.rate` of each threshold, shape (thresholds,).
        weighed: The two ways to count, where answers weigh unlike.

    Raises:
        ValueError: The method is ``binomial``, and a loss is neither 0 nor 1.
    """
    if weighed is not None:
        votes, exchanges = weighed
        return np.maximum(
            votes.p_values(epsilon, 1.0, rates), exchanges.p_values(epsilon, design_effect, rates)
        )
    return np.maximum(
        _p_values(first, epsilon, method, 1.0, rates),
        _p_values(with_repeats, epsilon, method, design_effect, rates),
    )


def _p_values(
    counted: Counted, epsilon: float, method: Method, effect: float, rates: Any
) -> FloatArray:
    if method == "betting":
        return one_look_p_value(counted.all_losses() / effect, epsilon)
    if method == "binomial" and counted.losses is not None and counted.losses[:, 1:STEPS].any():
        raise ValueError("the method binomial takes losses of 0 and 1, one was between them")
    wrong, answered = counted.disagreements / effect, counted.answered / effect
    if method == "binomial":
        return binomial_p_value(wrong, answered, epsilon)
    p_values = anytime_p_value(wrong, answered, epsilon, rates)
    if counted.losses is not None:
        # The same test; with losses of 0 and 1 alone its integral has a closed form.
        between = counted.losses[:, 1:STEPS].any(1)
        at = np.broadcast_to(rates, p_values.shape)[between]
        p_values[between] = bounded_anytime_p_value(counted.losses[between] / effect, epsilon, at)
    return p_values


def evidently_above(disagreements: Any, answered: Any, epsilon: float) -> npt.NDArray[np.bool_]:
    """Whether a rate of epsilon would show so many disagreements in fewer than 1 of 100 cases.

    Args:
        disagreements: Counts, any shape.
        answered: Counts, of the same shape.
        epsilon: The most disagreement allowed.

    Examples:
        >>> evidently_above([2, 12], [100, 100], 0.05).tolist()
        [False, True]
    """
    k, n = np.asarray(disagreements, float), np.asarray(answered, float)
    chance = 1 - binomial_p_value(np.maximum(np.floor(k) - 1, 0), n, epsilon)
    return np.asarray((k >= 1) & (chance < EVIDENT))


def first_of_each(clusters: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the index of the first member of each cluster, in order of arrival."""
    return np.sort(np.unique(clusters, return_index=True)[1])


def judge(
    confidence: FloatArray,
    losses: FloatArray,
    clusters: npt.NDArray[Any],
    plan: Plan,
    *,
    epsilon: float,
    delta: float,
    method: Method = "binomial",
    probabilities: FloatArray | None = None,
    new: npt.NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    unbiased: npt.NDArray[np.bool_] | None = None,
) -> Judgement:
    """Test the plan's thresholds on calibration exchanges.

    With probability at least ``1 - delta`` over the draw of the exchanges, no threshold passes
    whose mean loss among answered exchanges is above ``epsilon`` (Learn Then Test with a
    fallback procedure). A threshold passes only if it does by two ways to count:

    * a burst has one vote, its first exchange, however long it is;
    * all exchanges count, so that an input sent a hundred times weighs a hundred times, and their
      number is divided by the design effect: the larger of what training predicted and of what
      these exchanges show.

    Votes alone would let one input that fills a tenth of the traffic and is always wrong count as
    a few disagreements; exchanges alone take a burst for as much independent evidence. The design
    effect that these exchanges show, the weighted disagreement and that on new inputs depend on
    calibration labels. All three can only refuse more.

    Args:
        confidence: The student's confidences, in order of arrival, shape (n,).
        losses: How far its answer was from the teacher's, from 0 (agrees) to 1, shape (n,).
        clusters: Burst of each exchange, shape (n,), any sortable type.
        plan: What to test, made from training data alone.
        epsilon: The most disagreement allowed.
        delta: What this attempt may spend.
        method: ``anytime`` if the same student was or will be judged on part of this evidence;
            else ``binomial`` if the comparison knows no loss but 0 and 1, ``betting`` if it does.
            To choose by the losses that came up would be to choose a test by its outcome.
        probabilities: With which each exchange came to be among these, in (0, 1], shape (n,); by
            default all alike. The tests count every exchange once, so hours that were audited ten
            times as often speak ten times as loud. Therefore a threshold that passes must keep
            epsilon, as observed, in the traffic as it was, too.
        new: Whether training never saw the input, shape (n,); by default it saw none. A threshold
            at which disagreement on new inputs is evidently above epsilon is not chosen, however
            well the student does on those it has seen.
        weights: What each exchange counts for in the tests, from 0 to 1, shape (n,); by default
            all alike. Only for the method ``anytime``.
        unbiased: With weights: which exchanges are traffic as it came, shape (n,). Coverage, the
            vetoes and all counts but the weighed ones are of these.

    Raises:
        ValueError: A loss is no number from 0 to 1; or one is neither of them, and the method is
            ``binomial``; or there are weights, and it is not ``anytime``.
        TypeError: The losses are booleans, which could as well say what agrees.
    """
    thresholds, losses = np.array(plan.thresholds), np.asarray(losses)
    steps = in_steps(losses)
    effect, weighed = plan.design_effect, None
    if weights is not None and unbiased is not None:
        if method != "anytime":
            raise ValueError(f"weights are for the method anytime, not {method}")
        heavy = np.flatnonzero(weights > 0)
        votes = heavy[first_of_each(clusters[heavy])]
        weighed = (
            weigh(confidence[votes], steps[votes], weights[votes], thresholds),
            weigh(confidence, steps, weights, thresholds),
        )
        # All of these came, where of the others every twentieth may have: bursts show.
        deferred = heavy[weights[heavy] < 1]
        effect = max(effect, effect_at(confidence[deferred], losses[deferred], plan.starts))
        confidence, losses, steps = confidence[unbiased], losses[unbiased], steps[unbiased]
        clusters = clusters[unbiased]
        probabilities = None if probabilities is None else probabilities[unbiased]
        new = None if new is None else new[unbiased]
    evidence = first_of_each(clusters)
    first = _count(confidence[evidence], steps[evidence], thresholds)
    with_repeats = _count(confidence, steps, thresholds)
    effect = max(effect, effect_at(confidence, losses.astype(np.float64), plan.starts))
    rates = plan.expected(epsilon) if method == "anytime" else np.zeros(len(thresholds))
    p_values = p_values_of(
        first, with_repeats, epsilon, method, effect, rates=rates, weighed=weighed
    )
    passed, levels = fallback(p_values, np.array(plan.weights), delta)
    # Deferred requests alone show nothing of how much would be answered.
    seen = passed & (with_repeats.answered > 0)
    eligible = seen.copy()
    weighted = _weighted(confidence, losses, thresholds, probabilities)
    if weighted is not None:
        eligible &= weighted <= epsilon
    outweighed = bool(seen.any() and not eligible.any())
    if new is not None:
        unseen = _count(confidence[new], steps[new], thresholds)
        eligible &= ~evidently_above(unseen.total(), unseen.answered, epsilon)
    chosen = int(np.flatnonzero(eligible)[-1]) if eligible.any() else None
    tests = tuple(
        Test(
            threshold=float(thresholds[i]),
            weight=float(plan.weights[i]),
            answered=int(first.answered[i]),
            disagreements=int(first.disagreements[i]),
            answered_with_repeats=int(with_repeats.answered[i]),
            disagreements_with_repeats=int(with_repeats.disagreements[i]),
            p_value=float(p_values[i]),
            level=float(levels[i]),
            passed=bool(passed[i]),
            partial=_partial(first, i),
            partial_with_repeats=_partial(with_repeats, i),
            rate=float(rates[i]),
            weighed=() if weighed is None else weighed[0].entries(i),
            weighed_with_repeats=() if weighed is None else weighed[1].entries(i),
        )
        for i in range(len(thresholds))
    )
    return Judgement(
        tests=tests,
        chosen=chosen,
        n=len(evidence),
        exchanges=len(confidence),
        repeat_disagreement=(
            tests[chosen].loss_with_repeats / tests[chosen].answered_with_repeats
            if chosen is not None
            else 0.0
        ),
        method=method,
        weighted_disagreement=(
            float(weighted[chosen]) if weighted is not None and chosen is not None else None
        ),
        design_effect=effect,
        outweighed=outweighed,
    )


def _weighted(
    confidence: FloatArray,
    losses: FloatArray,
    thresholds: FloatArray,
    probabilities: FloatArray | None,
) -> FloatArray | None:
    """Return the mean loss of what is answered at each threshold, in the traffic as it was."""
    if probabilities is None or len(set(probabilities.tolist())) < 2:
        return None
    order = np.argsort(-confidence, kind="stable")
    answered = np.searchsorted(-confidence[order], -thresholds, side="right")
    weights = 1.0 / probabilities[order]
    stood_for = np.concatenate(([0.0], np.cumsum(weights)))[answered]
    lost = np.concatenate(([0.0], np.cumsum(weights * np.asarray(losses)[order])))[answered]
    return np.asarray(np.divide(lost, stood_for, out=np.zeros(len(lost)), where=stood_for > 0))


def _count(confidence: FloatArray, steps: IntArray, thresholds: FloatArray) -> Counted:
    """Count what is answered at each threshold, by its loss."""
    order = np.argsort(-confidence, kind="stable")
    answered = np.searchsorted(-confidence[order], -thresholds, side="right").astype(np.int64)
    steps = steps[order]
    wrong = np.concatenate(([0], np.cumsum(steps > 0)))[answered].astype(np.int64)
    if not ((steps > 0) & (steps < STEPS)).any():
        return Counted(answered, wrong, None)
    reached = steps[: answered[-1] if len(answered) else 0]
    # The first threshold at which each is answered; from there on it is at every laxer one.
    first = np.searchsorted(answered, np.arange(len(reached)), side="right")
    counts = np.zeros((len(thresholds), STEPS + 1), np.int64)
    np.add.at(counts, (first, reached), 1)
    return Counted(answered, wrong, counts.cumsum(0))


def _partial(counted: Counted, i: int) -> Partial:
    if counted.losses is None:
        return ()
    counts = counted.losses[i]
    steps = np.flatnonzero(counts[1:STEPS]) + 1
    return tuple(zip(steps.tolist(), counts[steps].tolist(), strict=True))


def total_loss(disagreements: int, partial: Partial) -> float:
    """Return the sum of losses: all disagreements lose 1 but for those listed."""
    return disagreements - sum((STEPS - step) * count for step, count in partial) / STEPS
