"""Whether a log is evidently not in the order in which its exchanges arrived.

The promise rests on calibration exchanges that come from traffic as it came, and a log's order is
taken for that. Exported and published data is often sorted by answer instead, or made of blocks of
equal answers. Real traffic repeats itself too, an alarm a few times over, so that chance alone is
not the yardstick: a log is flagged only when its answers repeat both beyond chance and by far.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

MIN_ROWS = 100
"""With fewer rows, only a log in which every answer forms one block is flagged."""

MIN_BLOCK = 20
"""Rows of at least two such blocks."""

MIN_EXCESS = 0.5
"""Share of the answer changes expected by chance that must be missing."""

MIN_NOVELTY = 0.5
"""Share of the latest quarter that must have answers (almost) never given before, by chance apart.
"""

MIN_Z = 6.0
"""Standard deviations beyond chance that both rules ask for."""

_MIN_CHANGES = 30
_RARE = 0.1
_LARGEST_TIE = 0.1


class OrderEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a log's answers and times say about its order.

    Attributes:
        in_order: False if the log is evidently not in order of arrival.
        reason: One sentence for the user.
        n: Rows looked at.
        repeats: Share of neighbouring rows with equal answers.
        expected_repeats: What that share would be on average in random order.
        excess: Share of the answer changes expected by chance that are missing; 0 for random
            order, 1 for sorted, about ``1 - 1 / L`` for shuffled blocks of ``L`` equal answers.
        z: By how many standard deviations the repeats exceed random order.
        novelty: Share of the latest quarter whose answers were almost never given before it.
        time_sorted: Whether the times ascend; ``None`` if there are no usable times.
    """

    in_order: bool
    reason: str
    n: int = 0
    repeats: float = 0.0
    expected_repeats: float = 0.0
    excess: float = 0.0
    z: float = 0.0
    novelty: float = 0.0
    time_sorted: bool | None = None


def order_evidence(
    answers: Sequence[str] | npt.NDArray[Any], times: Sequence[float] | npt.NDArray[Any] | None
) -> OrderEvidence:
    """Judge whether a log's rows are evidently not in order of arrival.

    Two rules on the answers, both one-sided and relative to the distribution over all orders of
    the same rows (exact mean and variance):

    1. Neighbours with equal answers: at least `MIN_EXCESS` of the expected changes are missing
       and the number is at least `MIN_Z` standard deviations beyond chance. Sorted files,
       concatenated sorted files and shuffled blocks.
    2. At least `MIN_NOVELTY` of the latest quarter has answers almost never given before it,
       beyond what chance gives (answers given once are always new). A few large blocks,
       each in random order.

    If the times ascend, and no tenth of the rows shares one time, they settle it: the log is in
    order, however its answers repeat. In random order, a false alarm is far rarer than one in a
    thousand; ``tests/gate/test_arrival_order.py`` simulates it.

    Args:
        answers: The rows' answers in the log's order, as text or as codes of labels.
        times: Their times in seconds, 0 where unknown; ``None`` if there are none.

    References:
        Wald and Wolfowitz, "On a test whether two samples are from the same population" (1940),
        for runs; the moments for several labels are those of a join count on a path (Moran, 1948).

    >>> order_evidence(["a"] * 60 + ["b"] * 60, None).in_order
    False
    >>> order_evidence(["a", "b", "b"] * 40, None).in_order
    True
    """
    codes = _codes(answers)
    n = len(codes)
    time_sorted = _time_sorted(times, n)
    if n < 2:
        return OrderEvidence(in_order=True, reason="Too few rows to tell.", n=n)
    counts = np.bincount(codes)
    equal = codes[1:] == codes[:-1]
    repeats = float(equal.mean())
    expected, sd = _repeats_by_chance(counts, n)
    excess = (repeats - expected) / (1 - expected) if expected < 1 else 0.0
    z = (repeats - expected) * (n - 1) / sd if sd > 0 else 0.0
    novelty, novelty_expected, novelty_z = _novelty(codes, counts)

    blocks = n - int(equal.sum())
    whole = len(counts) > 1 and blocks == len(counts) and int((counts >= MIN_BLOCK).sum()) >= 2
    changes_expected = (1 - expected) * (n - 1)
    enough = n >= MIN_ROWS
    repeated = enough and changes_expected >= _MIN_CHANGES and excess >= MIN_EXCESS and z >= MIN_Z
    novel = (
        enough
        and novelty_z >= MIN_Z
        and novelty - novelty_expected >= MIN_NOVELTY * (1 - novelty_expected)
    )

    if whole:
        finding = f"the log is sorted by answer: each of its {len(counts)} answers forms one block"
    elif repeated:
        finding = (
            f"the answers come in blocks: {repeats:.0%} of neighbouring rows have the same answer, "
            f"where random order would give {expected:.0%}"
        )
    elif novel:
        finding = (
            f"{novelty:.0%} of the latest quarter has answers that were almost never given before"
        )
    else:
        finding = ""

    if time_sorted:
        reason = "The times are in order" + (f", although {finding}." if finding else ".")
    elif finding:
        reason = f"The log is evidently not in order of arrival: {finding}."
    elif time_sorted is False:
        reason = "The times are not in order: sort the log by time."
    elif len(counts) == 1:
        reason = "There is one answer only, which says nothing about the order."
    elif not enough:
        reason = "Too few rows to tell."
    else:
        reason = "The answers are mixed as in traffic."
    return OrderEvidence(
        in_order=bool(time_sorted) or not finding,
        reason=reason,
        n=n,
        repeats=repeats,
        expected_repeats=expected,
        excess=excess,
        z=z,
        novelty=novelty,
        time_sorted=time_sorted,
    )


def _codes(answers: Sequence[str] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Number the answers 0, 1, ... so that equal ones have equal numbers."""
    if isinstance(answers, np.ndarray):
        return np.unique(answers, return_inverse=True)[1].ravel().astype(np.int64)
    # Not an array of strings: NumPy would give every answer the room of the longest.
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(answer, len(numbers)) for answer in answers], np.int64)


def _time_sorted(times: Sequence[float] | npt.NDArray[Any] | None, n: int) -> bool | None:
    if times is None or n < 2:
        return None
    values = np.asarray(times, dtype=np.float64)
    if len(values) != n:
        raise ValueError(f"times must be as many as answers: {n}, not {len(values)}")
    if not np.isfinite(values).all() or (values <= 0).any():
        return None
    # Rows stamped by an export, or by the day, say nothing about the order among them.
    if np.unique(values, return_counts=True)[1].max() > max(1.0, _LARGEST_TIE * n):
        return None
    return bool((values[1:] >= values[:-1]).all())


def _repeats_by_chance(counts: npt.NDArray[Any], n: int) -> tuple[float, float]:
    """Return the expected share of equal neighbours and the deviation of their number."""
    k = counts.astype(np.float64)
    pairs, triples = k * (k - 1), k * (k - 1) * (k - 2)
    share = float(pairs.sum() / (n * (n - 1.0)))
    if n < 4:
        return share, 0.0
    # Two neighbourhoods that overlap need three equal rows in a row; two apart need two pairs,
    # of one answer or of two different ones.
    overlapping = 2 * float(triples.sum()) / (n * (n - 1.0))
    single = float((triples * (k - 3)).sum())
    two = float(pairs.sum()) ** 2 - float((pairs**2).sum())
    apart = (single + two) / (n * (n - 1.0))
    mean = share * (n - 1)
    return share, math.sqrt(max(mean + overlapping + apart - mean**2, 0.0))


def _novelty(codes: npt.NDArray[Any], counts: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return the latest quarter's share of almost new answers, its mean by chance, and z."""
    n = len(codes)
    late_rows = n // 4
    if late_rows == 0:
        return 0.0, 0.0, 0.0
    late = np.bincount(codes[n - late_rows :], minlength=len(counts))
    early = counts - late
    share = late_rows / n
    new = early / (n - late_rows) < _RARE * late / late_rows
    novelty = float(late[new].sum() / late_rows)
    # An answer given more than this often is never almost new by chance.
    expected = variance = 0.0
    for k, labels in enumerate(np.bincount(counts)[:100].tolist()):
        if not labels or not k:
            continue
        mean = square = 0.0
        for x in range(1, k + 1):
            if (k - x) / (n - late_rows) < _RARE * x / late_rows:
                chance = math.comb(k, x) * share**x * (1 - share) ** (k - x)
                mean += x * chance
                square += x * x * chance
        expected += labels * mean
        variance += labels * square
    z = (novelty * late_rows - expected) / math.sqrt(max(variance, 1.0))
    return novelty, expected / late_rows, z
