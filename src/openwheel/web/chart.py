"""A chart as inline SVG: axes, ticks, grid, title and legend.

Knows nothing of what is drawn in it. Colours and fonts are classes that the page's style sheet
defines, so that one drawing serves light, dark and print.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal
from xml.etree import ElementTree

import msgspec
from markupsafe import Markup

WIDTH, HEIGHT = 460.0, 320.0
LEFT, RIGHT, BOTTOM = 58.0, 16.0, 48.0
TITLE_HEIGHT, LEGEND_ROW = 26.0, 18.0
LETTER = 6.6
"""About how wide a letter is; only the wrapping of the legend depends on it."""

Point = tuple[float, float]
Unit = Literal["share", "count", "score"]
"""Shown in per cent, with thousands separators, or as it is."""


class Axis(msgspec.Struct, frozen=True):
    """One axis: its label, its ticks from end to end, and what they count."""

    label: str
    ticks: tuple[float, ...]
    unit: Unit = "share"

    @property
    def low(self) -> float:
        """Where it starts."""
        return self.ticks[0]

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.ticks[-1]

    def name(self, tick: float) -> str:
        """Return the text beside a tick."""
        if self.unit == "share":
            return f"{100 * tick:.6g}%"
        return f"{tick:,.0f}" if self.unit == "count" else f"{tick:.6g}"


class Key(msgspec.Struct, frozen=True):
    """One entry of a legend: the class it is drawn with, as a line or as a dot, and its name."""

    kind: str
    name: str
    dot: bool = False


def axis(label: str, low: float, high: float, *, unit: Unit = "share", about: int = 5) -> Axis:
    """Return an axis with round ticks that holds ``low`` to ``high``, with about ``about`` steps.

    Examples:
        >>> axis("coverage", 0, 0.23).ticks
        (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
    """
    span = high - low if high > low else abs(high) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))
    if unit == "count":
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Axis(label, tuple(round(i * step, 12) for i in range(first, last + 1)), unit)


class Chart:
    """An SVG chart being drawn. Positions are in the units of its axes.

    Args:
        title: Shown above it.
        description: What a reader who cannot see it should hear.
        x, y: The axes.
        legend: What each kind of mark is.
    """

    def __init__(
        self, title: str, description: str, x: Axis, y: Axis, legend: Sequence[Key] = ()
    ) -> None:
        self.x, self.y = x, y
        self._root = ElementTree.Element(
            "svg",
            {
                "class": "plot",
                "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}",
                "role": "img",
                "aria-label": f"{title}. {description}",
            },
        )
        self._text(title, 4, 17, "plot-title")
        self._top = TITLE_HEIGHT + LEGEND_ROW * self._legend(legend) + 8
        self._frame()
        # Lines above the top of the y axis are cut there; an SVG inside an SVG cuts without an id.
        self._plane = self._add(
            "svg", x="0", y=self._top, width=WIDTH, height=HEIGHT - self._top,
            viewBox=f"0 {self._top:g} {WIDTH:g} {HEIGHT - self._top:g}",
        )  # fmt: skip

    def line(self, points: Iterable[Point], kind: str) -> None:
        """Draw a line through the points."""
        path = " ".join(f"{self._across(x):.1f},{self._up(y):.1f}" for x, y in points)
        ElementTree.SubElement(self._plane, "polyline", {"class": f"line {kind}", "points": path})

    def dot(self, point: Point, kind: str, tip: str, radius: float = 4) -> None:
        """Draw a dot with a tooltip; one above the top of the y axis is left out."""
        if point[1] > self.y.high:
            return
        circle = self._add(
            "circle", cx=self._across(point[0]), cy=self._up(point[1]), r=radius, kind=f"dot {kind}"
        )
        ElementTree.SubElement(circle, "title").text = tip

    def error_bar(self, x: float, low: float, high: float, kind: str, tip: str) -> None:
        """Draw a bar from ``low`` up to ``high``, as an arrow if that is beyond the axis."""
        beyond = high > self.y.high
        across, bottom, top = self._across(x), self._up(low), self._up(min(high, self.y.high))
        path = f"M{across:.1f} {bottom:.1f}V{top:.1f}"
        path += "m-5 7l5 -7l5 7" if beyond else "m-6 0h12"
        bar = self._add("path", d=path, kind=f"line {kind}")
        ElementTree.SubElement(bar, "title").text = tip

    def note(self, point: Point, text: str, kind: str) -> None:
        """Write text just above a point, starting there."""
        self._text(text, self._across(point[0]) + 4, self._up(point[1]) - 5, kind)

    def markup(self) -> Markup:
        """Return the drawing, to be put into a page as it is."""
        return Markup(ElementTree.tostring(self._root, encoding="unicode"))

    def _legend(self, legend: Sequence[Key]) -> int:
        """Draw the legend and return how many rows it took."""
        row, x = 0, 4.0
        for key in legend:
            width = 30 + LETTER * len(key.name) + 14
            if x > 4 and x + width > WIDTH:
                row, x = row + 1, 4.0
            middle = TITLE_HEIGHT + LEGEND_ROW * (row + 0.5)
            if key.dot:
                self._add("circle", cx=x + 11, cy=middle, r=4.5, kind=f"dot {key.kind}")
            else:
                self._add("path", d=f"M{x:g} {middle:g}h22", kind=f"line {key.kind}")
            self._text(key.name, x + 28, middle + 4)
            x += width
        return row + 1 if legend else 0

    def _frame(self) -> None:
        """Draw grid, ticks and labels."""
        left, right = LEFT, WIDTH - RIGHT
        top, bottom = self._top, HEIGHT - BOTTOM
        for tick in self.y.ticks:
            height = self._up(tick)
            self._add("path", d=f"M{left:g} {height:.1f}H{right:g}", kind="grid")
            self._text(self.y.name(tick), left - 7, height + 4, anchor="end")
        for tick in self.x.ticks:
            across = self._across(tick)
            self._add("path", d=f"M{across:.1f} {bottom:g}v5", kind="axis")
            self._text(self.x.name(tick), across, bottom + 18, anchor="middle")
        self._add("path", d=f"M{left:g} {top:g}V{bottom:g}H{right:g}", kind="axis")
        self._text(self.x.label, (left + right) / 2, HEIGHT - 8, anchor="middle")
        middle = (top + bottom) / 2
        label = self._text(self.y.label, 13, middle, anchor="middle")
        label.set("transform", f"rotate(-90 13 {middle:g})")

    def _across(self, x: float) -> float:
        share = (x - self.x.low) / (self.x.high - self.x.low)
        return LEFT + share * (WIDTH - RIGHT - LEFT)

    def _up(self, y: float) -> float:
        share = (y - self.y.low) / (self.y.high - self.y.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - self._top)

    def _text(
        self, text: str, x: float, y: float, kind: str = "", anchor: str = "start"
    ) -> ElementTree.Element:
        element = self._add("text", x=x, y=y, kind=kind, **{"text-anchor": anchor})
        element.text = text
        return element

    def _add(self, tag: str, kind: str = "", **attributes: float | str) -> ElementTree.Element:
        texts = {
            name: value if isinstance(value, str) else f"{value:.1f}"
            for name, value in attributes.items()
        }
        if kind:
            texts["class"] = kind
        return ElementTree.SubElement(self._root, tag, texts)
