"""The plots of a report, each from the part of a finding that it shows.

Each returns None where there is nothing to draw: an empty axis would look like a measurement.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
from markupsafe import Markup

from openwheel.loop.offline.findings import Bin, Confusion, Finding
from openwheel.web.chart import Axis, Chart, Key, Point, axis
from openwheel.web.text import bound, count, limit, percent, score

MOST_TIPS = 40
"""Tooltips on one line; more only make the file larger."""

HEADROOM = 8
"""Disagreement is shown up to this many times epsilon, so that the limit is never a hairline."""

HEAT_LEVELS = 6


def trade_off(finding: Finding) -> Markup | None:
    """Draw coverage against disagreement, with the limit and the threshold that was chosen."""
    measured, expected = _finite(finding.trade_off), _finite(finding.expected)
    if not measured and not expected:
        return None
    epsilon, legend, heights = finding.epsilon, [], [1.5 * finding.epsilon]
    for points, key in (
        (measured, Key("measured", "on calibration exchanges")),
        (expected, Key("expected", "as training predicted")),
    ):
        if points:
            legend.append(key)
            heights += [min(y, HEADROOM * epsilon) for _, y in points]
    chosen = _chosen(finding)
    status = "certified" if finding.certified else "tried"
    description = f"The limit is {limit(epsilon)}."
    if chosen:
        legend.append(Key(status, f"{status} threshold, with its bound", dot=True))
        heights.append(1.1 * chosen[1])
        if finding.bound is not None and finding.bound <= HEADROOM * epsilon:
            heights.append(1.05 * finding.bound)
        description += f" At the {status} threshold: {_summary(finding, chosen)}."
    highest = min(1.0, max(heights))
    chart = Chart(
        "Coverage against disagreement",
        description,
        axis("coverage: share of requests answered", 0, 1),
        axis("disagreement among answered", 0, highest),
        legend,
    )
    chart.line([(0, epsilon), (1, epsilon)], "limit")
    chart.note((0, epsilon), f"limit {limit(epsilon)}", "limit-note")
    chart.line(expected, "expected")
    chart.line(measured, "measured")
    for points, kind, source in (
        (expected, "expected", "training predicted"),
        (measured, "measured", "calibration"),
    ):
        for x, y in _some(points):
            tip = f"{source}: coverage {percent(x)}, disagreement {percent(y, 2)}"
            chart.dot((x, y), kind if len(points) == 1 else "touch", tip)
    if chosen:
        tip = f"{status} threshold: {_summary(finding, chosen)}"
        if finding.bound is not None:
            chart.error_bar(chosen[0], chosen[1], finding.bound, status, tip)
        chart.dot(chosen, status, tip, radius=5)
    return chart.markup()


def learning_curve(points: Sequence[Point]) -> Markup | None:
    """Draw how agreement grew with training inputs; a single size is no curve."""
    curve = sorted(_finite(points))
    if len({x for x, _ in curve}) < 2:
        return None
    low, high = min(y for _, y in curve), max(y for _, y in curve)
    middle = (low + high) / 2
    # Half a point of noise must not fill the plot, so it spans at least ten points.
    low, high = max(0.0, min(low, middle - 0.05)), min(1.0, max(high, middle + 0.05))
    first, last = curve[0], curve[-1]
    chart = Chart(
        "Learning curve",
        f"Agreement of {percent(first[1])} with {count(round(first[0]))} training inputs, "
        f"{percent(last[1])} with {count(round(last[0]))}.",
        axis("training inputs", 0, last[0], unit="count"),
        axis("agreement, out of fold", low, high),
    )
    chart.line(curve, "measured")
    for x, y in curve:
        chart.dot((x, y), "measured", f"{count(round(x))} training inputs: agreement {percent(y)}")
    return chart.markup()


def reliability(bins: Sequence[Bin]) -> Markup | None:
    """Draw confidence against the agreement found; the area of a dot is its count."""
    drawn = [b for b in bins if b.count > 0 and math.isfinite(b.confidence + b.agreement)]
    if not drawn:
        return None
    values = [value for b in drawn for value in (b.confidence, b.agreement)]
    low, high = math.floor(10 * min(*values, 0.9)) / 10, max(*values, 1.0)
    across = axis("mean confidence", low, high, unit="score")
    ends = (across.low, across.high)
    most, total = max(b.count for b in drawn), sum(b.count for b in drawn)
    chart = Chart(
        "Confidence reliability",
        f"{len(drawn)} groups of {count(total)} calibration exchanges; on the diagonal, confidence "
        "is the share that agrees.",
        across,
        Axis("agreement found", across.ticks),
        [
            Key("measured", "calibration exchanges, area is their number", dot=True),
            Key("diagonal", "diagonal"),
        ],
    )
    chart.line([(ends[0], ends[0]), (ends[1], ends[1])], "diagonal")
    for b in sorted(drawn, key=lambda b: -b.count):
        tip = (
            f"{count(b.count)} exchanges: mean confidence {score(b.confidence)}, "
            f"{percent(b.agreement)} agreed"
        )
        chart.dot((b.confidence, b.agreement), "share", tip, max(2.0, 15 * (b.count / most) ** 0.5))
    return chart.markup()


class Cell(msgspec.Struct, frozen=True):
    """One cell of the confusion table: its count, how hot (0 to 6), whether on the diagonal."""

    count: int
    heat: int
    diagonal: bool
    teacher: str
    student: str


def heat_table(confusion: Confusion | None) -> tuple[tuple[Cell, ...], ...]:
    """Return the confusion table, a row a teacher's label; empty if nothing was confused."""
    if confusion is None:
        return ()
    labels, counts = confusion.labels, confusion.counts
    most = max((n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j), default=0)
    if most <= 0:
        return ()
    return tuple(
        tuple(
            Cell(n, 0 if i == j else math.ceil(HEAT_LEVELS * n / most), i == j, teacher, student)
            for j, (n, student) in enumerate(zip(row, labels, strict=True))
        )
        for i, (row, teacher) in enumerate(zip(counts, labels, strict=True))
    )


def _chosen(finding: Finding) -> Point | None:
    """Return coverage and disagreement at the threshold; None if nothing was answered there."""
    observed = finding.observed
    return None if observed is None else (finding.coverage, observed)


def _summary(finding: Finding, chosen: Point) -> str:
    of_fields = " of fields" if finding.by_fields else ""
    parts = [
        f"coverage {percent(chosen[0])}",
        f"disagreement {percent(chosen[1], 2)}{of_fields}",
    ]
    if finding.bound is not None:
        parts.append(f"bound {bound(finding.bound, finding.epsilon)}")
    return ", ".join(parts)


def _finite(points: Iterable[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _some(points: Sequence[Point]) -> Sequence[Point]:
    """Return every point, or about ``MOST_TIPS`` of them evenly spread, the last included."""
    step = max(1, math.ceil(len(points) / MOST_TIPS))
    return points[::-1][::step]
