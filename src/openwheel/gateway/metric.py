"""Defines a metric as one row: its name, its help, and how its value is read.

Each module that counts has its rows; `openwheel.gateway.metrics_page` has all of them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Literal, TypeVar

import msgspec

Of = TypeVar("Of")

Labels = tuple[tuple[str, str], ...]

Values = float | Iterable[tuple[tuple[str, ...], float | None]] | None
"""A value, or values each with those of their labels; None where there is none."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One counter or gauge: a metric's name, its labels, its value."""

    name: str
    labels: Labels
    value: float


class Metric(msgspec.Struct, Generic[Of], frozen=True):
    """One metric.

    Attributes:
        name: As the page has it, ``_total`` and the like included.
        help: What it counts.
        read: Returns its values, each with the labels that are not given otherwise.
        labels: Their names, in the order in which they are counted by.
        shape: Its type in Prometheus, if it is no counter or gauge.
    """

    name: str
    help: str
    read: Callable[[Of], Values] = lambda _: None
    labels: tuple[str, ...] = ()
    shape: Literal["histogram", "info", ""] = ""

    @property
    def kind(self) -> Literal["counter", "gauge", "histogram", "info"]:
        """Its type in Prometheus; only the names of counters end in ``_total``."""
        return self.shape or ("counter" if self.name.endswith("_total") else "gauge")

    def samples(self, of: Of, labels: Labels = ()) -> Iterator[Sample]:
        """Yield its samples.

        Args:
            of: What they are read from.
            labels: The first labels of each, with their values.
        """
        values_read = self.read(of)
        if isinstance(values_read, int | float):
            yield Sample(self.name, labels, values_read)
        elif values_read is not None:
            for values, value in values_read:
                value_labels = tuple(zip(self.labels[-len(values) :], values, strict=True))
                if value is not None:
                    yield Sample(self.name, (*labels, *value_labels), value)


class Count(msgspec.Struct, frozen=True):
    """The name and the help of a metric that counts an event; see `Meter`."""

    name: str
    help: str
