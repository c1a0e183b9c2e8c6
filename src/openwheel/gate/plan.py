"""What will be tested, fixed before a calibration label is looked at."""

import msgspec
import numpy as np
import numpy.typing as npt
import scipy

from openwheel.gate.betting import STEPS as LOSS_STEPS
from openwheel.gate.betting import (
    in_steps,
    one_look_binary_p_value,
    weighed_anytime_p_value,
)
from openwheel.gate.bounds import anytime_p_value, binomial_p_value
from openwheel.gate.dependence import effect_at

FloatArray = npt.NDArray[np.float64]

STEPS = 100
"""Candidate thresholds: one for each hundredth of coverage on training data."""

STARTS = 9
SPREAD = 0.1
"""Share of delta spread evenly over ``STARTS`` thresholds, in case training predicts nothing."""

AIMS = ((0.5, 0.99, 1.0), (0.2, 0.95, 1.6), (0.2, 0.95, 2.5))
"""Where the rest starts: a share of delta, the chance to pass that is wanted, and by what factor
disagreement is taken to be worse than training says.

Each share starts at the laxest threshold with that chance. Traffic drifts, so calibration is
often harder than training; a single start that fails for that leaves next to nothing for
stricter thresholds. What the rules compared in ``benchmarks/starts.py`` certify is in docs/gate.md.
"""

START = 2 * SPREAD / STARTS
"""A threshold with a larger share of delta than this is one where the aims start."""

LEAST_BET, MOST_BET = 0.1, 0.8
"""Multiples of epsilon between which a bet on the predicted disagreement lies: a bet on none would
be lost with the first disagreement, one near epsilon wins next to nothing."""

LARGEST_GROWTH = 1_000.0
"""Further than this no learning curve can be followed."""

FEWEST_ANSWERED = 0.02
"""A threshold that answers less of the traffic than this is not worth a student."""


class Plan(msgspec.Struct, frozen=True):
    """Candidate thresholds and how delta is shared among them, strict first.

    Attributes:
        thresholds: A student answers where its confidence is at least the threshold.
        weights: Share of delta that starts at each threshold; they sum to 1.
        coverage: Predicted share of requests answered at each threshold.
        disagreement: Predicted disagreement among those answered at each threshold.
        training: How many training exchanges the predictions come from.
        design_effect: By how much less evidence exchanges are than independent ones, as their
            losses came in training.
        floor: No threshold is below it (`gate.floor`); 0 without a floor.
        unknown: Predicted share answered, at each threshold, of requests whose answer the student
            does not know; empty where that was not estimated.
        size: What a disagreement loses, where losses may lie between 0 and 1: the mean of their
            squares over their mean, so that losses of 0 and this vary as they did in training.
    """

    thresholds: tuple[float, ...]
    weights: tuple[float, ...]
    coverage: tuple[float, ...]
    disagreement: tuple[float, ...]
    training: int
    design_effect: float = 1.0
    floor: float = 0.0
    unknown: tuple[float, ...] = ()
    size: float = 1.0

    def expected(self, epsilon: float) -> FloatArray:
        """Return the disagreement to bet on at each threshold, below epsilon, shape (thresholds,).

        By Laplace's rule of succession: the best of many thresholds owes some of that to luck.
        """
        return np.clip(self.smoothed(), LEAST_BET * epsilon, MOST_BET * epsilon)

    def smoothed(self) -> FloatArray:
        """Return the predicted disagreement by Laplace's rule of succession."""
        seen = np.array(self.coverage) * self.training
        return np.asarray((np.array(self.disagreement) * seen + 1) / (seen + 2))

    @property
    def starts(self) -> tuple[float, ...]:
        """The thresholds at which most of delta starts, and the laxest."""
        heavy = [t for t, w in zip(self.thresholds, self.weights, strict=True) if w > START]
        return (*heavy, *self.thresholds[-1:])


def make_plan(
    confidence: FloatArray,
    losses: FloatArray,
    *,
    epsilon: float,
    delta: float,
    calibration: int,
    bounded: bool = False,
    floor: float = 0.0,
    unknown: FloatArray | None = None,
) -> Plan:
    """Choose the thresholds to test, from predictions of training exchanges alone.

    Args:
        confidence: Confidences that the student would have had on training exchanges, in order of
            arrival; 0 or less means that it never answers.
        losses: How far its answer would have been from the teacher's, from 0 (agrees) to 1.
        epsilon: The most disagreement allowed among answered requests.
        delta: What this attempt may spend.
        calibration: How many calibration exchanges there will be, about.
        bounded: Whether losses may lie between 0 and 1, which takes more evidence.
        floor: The least threshold.
        unknown: Confidences of requests whose answers were left out of training, if any.

    Returns:
        A plan, with the design effect that the losses showed; without any threshold if no
        training exchange could be answered.
    """
    steps = in_steps(losses)
    confidence = np.where(confidence >= floor, confidence, 0.0)
    if not (confidence > 0).any():
        return Plan((), (), (), (), len(confidence), floor=floor)
    lost = np.asarray(losses, np.float64)[confidence > 0]
    size = float((lost**2).sum() / lost.sum()) if bounded and lost.any() else 1.0
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, wrong = confidence[order], np.cumsum(steps[order]) / LOSS_STEPS
    total, answerable = len(confidence), int((confidence > 0).sum())
    shares = np.arange(1, STEPS + 1) / STEPS
    last = np.unique(np.ceil(shares * total).astype(int)) - 1
    last = last[(last < answerable) & (last + 1 >= FEWEST_ANSWERED * total)]
    if not (len(last) and last[-1] == answerable - 1):
        last = np.append(last, answerable - 1)
    # Equal confidences are answered together: one threshold each, counted to its last exchange.
    thresholds = np.unique(sorted_confidence[last])[::-1]
    answered = np.searchsorted(-sorted_confidence, -thresholds, side="right")
    coverage, rate = answered / total, wrong[answered - 1] / answered

    plan = Plan(
        tuple(thresholds.tolist()),
        (0.0,) * len(thresholds),
        tuple(coverage.tolist()),
        tuple(rate.tolist()),
        total,
        floor=floor,
        size=size,
        unknown=() if unknown is None else tuple((unknown >= t).mean().item() for t in thresholds),
    )
    plan = _shared_out(plan, calibration, epsilon=epsilon, delta=delta, bounded=bounded)
    effect = effect_at(confidence, np.asarray(losses, np.float64), plan.starts)
    if effect == 1:
        return plan
    plan = _shared_out(plan, calibration / effect, epsilon=epsilon, delta=delta, bounded=bounded)
    return msgspec.structs.replace(plan, design_effect=effect)


def _shared_out(
    plan: Plan, calibration: float, *, epsilon: float, delta: float, bounded: bool
) -> Plan:
    """Share delta among a plan's thresholds, for this many independent calibration exchanges."""
    coverage, rate = np.array(plan.coverage), np.array(plan.disagreement)
    weights = np.zeros(len(coverage))
    spread = np.linspace(0, len(coverage) - 1, STARTS).round().astype(int)
    np.add.at(weights, spread, SPREAD / STARTS)
    for share, sure, worse in AIMS:
        passing = chance_to_pass(
            coverage,
            np.minimum(worse * rate, 1.0),
            calibration,
            plan.training,
            epsilon=epsilon,
            level=share * delta,
            bounded=bounded,
            size=plan.size,
        )
        enough = np.flatnonzero(passing >= sure)
        weights[enough[-1] if len(enough) else int(np.argmax(passing))] += share
    return msgspec.structs.replace(plan, weights=tuple((weights / weights.sum()).tolist()))


def predicted_coverage(
    plan: Plan, *, epsilon: float, delta: float, calibration: int, bounded: bool = False
) -> float:
    """Return the coverage that ``plan`` is expected to be certified at, 0 if none.

    The laxest threshold that is more likely than not to pass; used to choose the rung on training
    data. ``bounded``: whether losses may lie between 0 and 1.
    """
    coverage, rate = np.array(plan.coverage), np.array(plan.disagreement)
    if not len(coverage):
        return 0.0
    passing = chance_to_pass(
        coverage,
        rate,
        calibration / plan.design_effect,
        plan.training,
        epsilon=epsilon,
        level=delta,
        bounded=bounded,
        size=plan.size,
    )
    likely = np.flatnonzero(passing >= 0.5)
    return float(coverage[likely[-1]]) if len(likely) else 0.0


def growth_needed(
    plan: Plan,
    *,
    calibration: int,
    epsilon: float,
    delta: float,
    exponent: float = 0.0,
    anytime: bool = False,
    bounded: bool = False,
) -> float | None:
    """Return by about what factor the traffic must grow until some threshold passes.

    Args:
        plan: Predictions made by training.
        calibration: Calibration exchanges there are now; they grow by the same factor.
        epsilon: The most disagreement allowed.
        delta: The level of the test.
        exponent: Disagreement falls as the factor to the power of minus this: 0 if a student is
            not trained again, else as its learning curve shows.
        anytime: Whether it will be judged by anytime-valid tests.
        bounded: Whether losses may lie between 0 and 1.

    Returns:
        At least 1; None if ``LARGEST_GROWTH`` times the traffic would not be enough.
    """
    coverage, smoothed = np.array(plan.coverage), plan.smoothed()
    if not len(coverage):
        return None
    expected = plan.expected(epsilon)
    for factor in np.geomspace(1, LARGEST_GROWTH, 81):
        answered = np.floor(coverage * max(calibration / plan.design_effect, 1) * factor)
        wrong = np.minimum(smoothed * factor**-exponent / plan.size, 1.0)
        # One standard deviation of bad luck, so that it passes about five times in six.
        unlucky = np.ceil(answered * wrong + np.sqrt(answered * wrong * (1 - wrong)))
        unlucky = np.minimum(unlucky, answered)
        if anytime:
            p_values = _anytime_p_value(unlucky, answered, epsilon, expected, plan.size)
        elif bounded:
            p_values = one_look_binary_p_value(unlucky, answered, epsilon, plan.size)
        else:
            p_values = binomial_p_value(unlucky, answered, epsilon)
        if (p_values <= delta).any():
            return float(factor)
    return None


def _anytime_p_value(
    disagreements: FloatArray, answered: FloatArray, epsilon: float, rate: FloatArray, size: float
) -> FloatArray:
    """Return the anytime p-value where all losses were 0 or ``size``."""
    if size == 1:
        return anytime_p_value(disagreements, answered, epsilon, rate)
    counts = np.stack((answered - disagreements, disagreements), axis=-1)
    steps = np.array([0, round(size * LOSS_STEPS)])
    return weighed_anytime_p_value(counts, np.ones(2), steps, epsilon, rate)


def chance_to_pass(
    coverage: FloatArray,
    rate: FloatArray,
    calibration: float,
    training: int,
    *,
    epsilon: float,
    level: float,
    bounded: bool = False,
    size: float = 1.0,
) -> FloatArray:
    """Return the predicted chance of each threshold to pass a test with one look at ``level``.

    Losses between 0 and 1 are taken to vary as losses of 0 and `Plan.size` do.
    """
    answered = np.maximum(1, np.round(coverage * calibration))
    if bounded:
        most = _most_bets(answered, epsilon, level, size)
    else:
        most = _most_binomial(answered, epsilon, level)
    # Half a pseudo-count keeps a lucky zero in training from predicting certainty.
    seen = coverage * training
    smoothed = (np.minimum(rate / size, 1.0) * seen + 0.5) / (seen + 1)
    spread = np.sqrt(answered * smoothed * (1 - smoothed) * (1 + calibration / training))
    chance = scipy.special.ndtr((most + 0.5 - answered * smoothed) / spread)
    return np.where(most < 0, 0.0, chance)


def _most_binomial(answered: FloatArray, epsilon: float, level: float) -> FloatArray:
    """Return the most disagreements that pass the binomial test, -1 if none do."""
    # bdtrik inverts the binomial's cumulative distribution.
    most = np.ceil(np.nan_to_num(scipy.special.bdtrik(level, answered, epsilon), nan=-1.0))
    most -= scipy.special.bdtr(most, answered.astype(np.int64), epsilon) > level
    return np.asarray(most)


def _most_bets(answered: FloatArray, epsilon: float, level: float, size: float) -> FloatArray:
    """Return the most disagreements of one size that pass the betting test, -1 if none do."""
    passing, failing = np.full(len(answered), -1.0), np.floor(epsilon * answered / size) + 1
    failing = np.minimum(failing, answered + 1)
    for _ in range(int(np.log2(failing.max())) + 2):
        middle = np.floor((passing + failing) / 2)
        passes = one_look_binary_p_value(np.maximum(middle, 0), answered, epsilon, size) <= level
        passes &= middle >= 0
        passing, failing = np.where(passes, middle, passing), np.where(passes, failing, middle)
    return passing
