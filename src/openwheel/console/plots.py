"""Draws the console's plots: inline SVG with hover texts; a table beside each has its numbers."""

from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree import ElementTree

from markupsafe import Markup

from openwheel.console.counts import Count
from openwheel.console.task import Frontier, Moment
from openwheel.loop.audit.status import TaskAudit
from openwheel.loop.records import Candidate
from openwheel.web.chart import Chart, Key, axis
from openwheel.web.text import count, limit, percent

_BAR_WIDTH: Final = 150.0
_BAR_HEIGHT: Final = 18.0
_MOST_TIPS: Final = 60


def promise_bar(audit: TaskAudit) -> Markup | None:
    """Draw the live disagreement's interval against epsilon; None without an audit."""
    if audit.rate is None or audit.epsilon is None or not audit.audits:
        return None
    low, high = audit.interval
    most = min(1.0, max(2 * audit.epsilon, 1.1 * min(high, 4 * audit.epsilon)))

    def across(share: float) -> str:
        return f"{4 + (_BAR_WIDTH - 8) * min(share, most) / most:.1f}"

    words = (
        f"Live disagreement {percent(audit.rate, 2)}, {percent(low, 2)} to {percent(high, 2)}; "
        f"limit {limit(audit.epsilon)}."
    )
    root = ElementTree.Element(
        "svg",
        {
            "class": "bar",
            "viewBox": f"0 0 {_BAR_WIDTH:g} {_BAR_HEIGHT:g}",
            "role": "img",
            "aria-label": words,
        },
    )
    ElementTree.SubElement(root, "title").text = words
    middle = _BAR_HEIGHT / 2
    for kind, path in (
        ("axis", f"M4 {middle:g}H{_BAR_WIDTH - 4:g}"),
        ("allowed", f"M4 {middle:g}H{across(audit.epsilon)}"),
        ("range", f"M{across(low)} {middle:g}H{across(high)}"),
        ("limit", f"M{across(audit.epsilon)} 1V{_BAR_HEIGHT - 1:g}"),
    ):
        ElementTree.SubElement(root, "path", {"class": f"bar-{kind}", "d": path})
    ElementTree.SubElement(
        root,
        "circle",
        {"class": "bar-rate", "cx": across(audit.rate), "cy": f"{middle:g}", "r": "4"},
    )
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def share_by_hour(by_hour: Mapping[int, Count], *, now: float, days: float) -> Markup | None:
    """Draw the share of requests that students answered in each hour; None without requests."""
    shown = {hour: one for hour, one in by_hour.items() if one.requests}
    if len(shown) < 2:
        return None
    chart = Chart(
        "Answered here, by the hour",
        f"{len(shown)} hours with requests.",
        axis("days before now", -days, 0, unit="score"),
        axis("share of requests answered here", 0, 1),
    )
    points = [
        (((hour + 0.5) * 3600 - now) / 86_400, one.answered_here or 0.0)
        for hour, one in sorted(shown.items())
    ]
    points = [(max(-days, min(0.0, x)), y) for x, y in points]
    chart.line(points, "measured")
    step = max(1, len(points) // _MOST_TIPS)
    for (x, y), one in list(zip(points, shown.values(), strict=True))[::step]:
        chart.dot((x, y), "touch", f"{-x:.1f} days ago: {percent(y)} of {count(one.requests)}")
    return chart.markup()


def live_disagreement(moments: Sequence[Moment], epsilon: float) -> Markup | None:
    """Draw the live disagreement with its interval as audits came in; None with too few."""
    if len(moments) < 2:
        return None
    # The first intervals reach from 0 to 1 and would flatten all others.
    highest = min(1.0, max(2.5 * epsilon, 1.2 * moments[-1].high, 1.2 * moments[-1].rate))
    chart = Chart(
        "Live disagreement",
        f"{percent(moments[-1].rate, 2)} after {count(moments[-1].audits)} audits; the limit is "
        f"{limit(epsilon)}.",
        axis("audited answers", 0, moments[-1].audits, unit="count"),
        axis("disagreement", 0, highest),
        [
            Key("measured", "mean of all audits"),
            Key("expected", "its interval, at all times at once"),
        ],
    )
    chart.line([(0, epsilon), (moments[-1].audits, epsilon)], "limit")
    chart.note((0, epsilon), f"limit {limit(epsilon)}", "limit-note")
    for kind, ends in (
        ("expected", [(one.audits, one.low) for one in moments]),
        ("expected", [(one.audits, one.high) for one in moments]),
        ("measured", [(one.audits, one.rate) for one in moments]),
    ):
        chart.line(ends, kind)
    step = max(1, len(moments) // _MOST_TIPS)
    for one in moments[::-1][::step]:
        tip = (
            f"{count(one.audits)} audits: {percent(one.rate, 2)}, {percent(one.low, 2)} to "
            f"{percent(one.high, 2)}"
        )
        chart.dot((one.audits, one.rate), "touch", tip)
    return chart.markup()


def coverage_by_training(students: Sequence[tuple[Candidate, str, float]]) -> Markup | None:
    """Draw what training predicted of each student, by how much it learned from; None with one."""
    points = sorted(
        (float(candidate.training.exchanges), candidate.coverage)
        for candidate, _, _ in students
        if candidate.training.exchanges
    )
    if len({x for x, _ in points}) < 2:
        return None
    chart = Chart(
        "Coverage as it learned more",
        f"{len(points)} students; what training predicted they would be certified at.",
        axis("training exchanges", 0, points[-1][0], unit="count"),
        axis("predicted coverage", 0, 1),
    )
    chart.line(points, "measured")
    for x, y in points:
        chart.dot((x, y), "measured", f"{count(round(x))} training exchanges: {percent(y)}")
    return chart.markup()


def live_frontier(frontier: Frontier, epsilon: float) -> Markup | None:
    """Draw coverage against disagreement as live traffic shows them."""
    points = frontier.points
    if len(points) < 2:
        return None
    heights = [min(y, 6 * epsilon) for _, y in points]
    chart = Chart(
        "Coverage against disagreement, live",
        f"Estimated from {count(frontier.answers)} answers of the teacher; nothing is certified.",
        axis("coverage: share of requests answered", 0, 1),
        axis("disagreement among answered", 0, min(1.0, max(1.5 * epsilon, *heights))),
        [
            Key("measured", "live traffic"),
            Key("certified", "at the certified threshold", dot=True),
        ],
    )
    chart.line([(0, epsilon), (1, epsilon)], "limit")
    chart.note((0, epsilon), f"limit {limit(epsilon)}", "limit-note")
    chart.line(points, "measured")
    step = max(1, len(points) // _MOST_TIPS)
    for x, y in points[::step]:
        chart.dot((x, y), "touch", f"coverage {percent(x)}, disagreement {percent(y, 2)}")
    if frontier.now is not None:
        x, y = frontier.now
        chart.dot(
            (x, y), "certified", f"now: coverage {percent(x)}, disagreement {percent(y, 2)}", 5
        )
    return chart.markup()
