"""Writes the page of ``GET /metrics`` for Prometheus.

`METRICS` has every metric; docs/operations.md lists the same.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from openwheel.gateway.audit_metrics import AUDITED, LEFT_OUT, TEACHER_CHANGES
from openwheel.gateway.meter import (
    CAPTURED,
    COUNTED,
    DISTRIBUTED,
    REACHED,
    TEACHERS,
    USED,
    Histogram,
)
from openwheel.gateway.metric import Labels, Metric, Sample
from openwheel.gateway.snapshots import AGE, WORKERS, Merged

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family


METRICS: Final[tuple[Metric[Any], ...]] = (
    *COUNTED,
    *DISTRIBUTED,
    *REACHED,
    *TEACHERS,
    *CAPTURED,
    *USED,
    AGE,
    *WORKERS,
    *AUDITED,
    *TEACHER_CHANGES,
    *LEFT_OUT,
)

_UNITS: Final = ("seconds", "bytes", "dollars")


def metrics_page(
    merged: Merged,
    accept: str = "",
    more: Sequence[Sample] = (),
    more_metrics: Sequence[Metric[Any]] = (),
) -> tuple[str, bytes]:
    """Return the page's content type and body, by a request's Accept header.

    Call it in a thread: it takes milliseconds, and tens of them when the library is first loaded.
    Counts that `METRICS` does not list are left out; ``more`` are gauges of no worker, and
    ``more_metrics`` are listed beside `METRICS`.
    """
    # Here, so that only gateways that are scraped load it.
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # what it does with a version that is no number
        encode, content_type = choose_encoder("")
    return content_type, encode(_Collector(merged, more, more_metrics))


class _Collector:
    """Gives the metrics to the Prometheus library."""

    def __init__(
        self, merged: Merged, more: Sequence[Sample], more_metrics: Sequence[Metric[Any]]
    ) -> None:
        self._merged = merged
        self._more = more
        self._metrics = (*METRICS, *more_metrics)

    def collect(self) -> Iterator["Family"]:
        """Yield every metric with its values."""
        worker_samples = (sample for metric in WORKERS for sample in metric.samples(self._merged))
        values = _by_name(
            (*self._merged.counters, *self._merged.gauges, *self._more, *worker_samples)
        )
        histograms: dict[str, list[Histogram]] = {}
        for histogram in self._merged.histograms:
            histograms.setdefault(histogram.name, []).append(histogram)
        for row in self._metrics:
            yield _family(row, values.get(row.name, []), histograms.get(row.name, []))


def _family(
    row: Metric[Any], values: Iterable[Sample], histograms: Iterable[Histogram]
) -> "Family":
    from prometheus_client import metrics_core  # noqa: PLC0415

    # In OpenMetrics a family's name has no suffix, its samples' names have.
    family = row.name.removesuffix("_total").removesuffix("_info")
    unit = family.rpartition("_")[2]
    unit = unit if unit in _UNITS else ""
    if row.kind == "info":
        info = metrics_core.InfoMetricFamily(family, row.help)
        for sample in values:
            info.add_metric((), dict(sample.labels))
        return info
    if row.kind == "histogram":
        filled = metrics_core.HistogramMetricFamily(family, row.help, labels=row.labels, unit=unit)
        for histogram in histograms:
            if _names(histogram.labels) == row.labels:
                buckets = [
                    ("+Inf" if bound == math.inf else str(bound), seen)
                    for bound, seen in zip(
                        (*histogram.bounds, math.inf), accumulate(histogram.counts), strict=True
                    )
                ]
                filled.add_metric(_values(histogram.labels), buckets, histogram.sum)
        return filled
    kind = (
        metrics_core.CounterMetricFamily
        if row.kind == "counter"
        else metrics_core.GaugeMetricFamily
    )
    metric = kind(family, row.help, labels=row.labels, unit=unit)
    for sample in values:
        if _names(sample.labels) == row.labels:
            metric.add_metric(_values(sample.labels), sample.value)
    return metric


def _names(labels: Labels) -> tuple[str, ...]:
    return tuple(name for name, _ in labels)


def _values(labels: Labels) -> tuple[str, ...]:
    return tuple(value for _, value in labels)


def _by_name(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    samples_by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        samples_by_name.setdefault(sample.name, []).append(sample)
    return samples_by_name
