"""``GET /metrics``: what the workers have counted, as a page for Prometheus.

`METRICS` is every metric there is; docs/operations.md lists the same.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

import msgspec

import openwheel
from openwheel.gateway.meter import Histogram, Labels, Sample
from openwheel.gateway.snapshots import Merged

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class MetricRow(msgspec.Struct, frozen=True):
    """One metric.

    Attributes:
        name: As the page has it, ``_total`` and the like included.
        labels: In the order in which they are counted by; what has others is left out.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    labels: tuple[str, ...]
    help: str


METRICS: Final = (
    MetricRow(
        "openwheel_requests_total",
        "counter",
        ("api", "source", "status"),
        "Requests that are over, by who answered.",
    ),
    MetricRow(
        "openwheel_task_requests_total",
        "counter",
        ("task", "source"),
        "The same requests by task.",
    ),
    MetricRow(
        "openwheel_request_duration_seconds",
        "histogram",
        ("api", "source"),
        "From the request being whole to the end of the response.",
    ),
    MetricRow(
        "openwheel_request_first_byte_seconds",
        "histogram",
        ("api", "source"),
        "From the request being whole to the first byte of the response.",
    ),
    MetricRow(
        "openwheel_requests_cancelled_total",
        "counter",
        (),
        "Requests whose client went away before the answer was whole.",
    ),
    MetricRow(
        "openwheel_student_errors_total",
        "counter",
        (),
        "Requests a student failed on; the teacher answered them.",
    ),
    MetricRow(
        "openwheel_teacher_errors_total",
        "counter",
        (),
        "Requests for which no teacher could be reached, or it broke off.",
    ),
    MetricRow(
        "openwheel_teacher_down",
        "gauge",
        ("worker",),
        "1 while there are requests that no teacher can be reached for.",
    ),
    MetricRow(
        "openwheel_requests_waiting",
        "gauge",
        ("worker",),
        "Requests that wait for a teacher to come back.",
    ),
    MetricRow(
        "openwheel_requests_waited_total",
        "counter",
        (),
        "Requests that waited for a teacher to come back.",
    ),
    MetricRow(
        "openwheel_requests_not_waited_total",
        "counter",
        (),
        "Requests that failed at once, since too many waited.",
    ),
    MetricRow(
        "openwheel_stood_in_total",
        "counter",
        (),
        "Requests for the teacher that a certified student answered, since it was down.",
    ),
    MetricRow(
        "openwheel_teacher_attempts_total",
        "counter",
        ("teacher",),
        "Requests sent to a teacher, retries and audits included.",
    ),
    MetricRow(
        "openwheel_teacher_attempts_failed_total",
        "counter",
        ("teacher",),
        "Of these, those that failed: no connection, too slow, status 429 or 5xx, broken off.",
    ),
    MetricRow(
        "openwheel_teacher_resting_seconds",
        "gauge",
        ("worker", "teacher"),
        "Seconds until a teacher that failed is asked again before others; 0 if it is well.",
    ),
    MetricRow(
        "openwheel_teacher_tokens_total",
        "counter",
        ("teacher", "direction"),
        "Tokens a teacher read (input) and wrote (output).",
    ),
    MetricRow(
        "openwheel_teacher_cost_dollars_total",
        "counter",
        ("teacher",),
        "What those tokens cost at the prices set.",
    ),
    MetricRow(
        "openwheel_audits_total",
        "counter",
        (),
        "Audits asked of the teacher and captured.",
    ),
    MetricRow(
        "openwheel_audits_failed_total",
        "counter",
        (),
        "Audits without an answer that could be captured.",
    ),
    MetricRow(
        "openwheel_answers_uncaptured_total",
        "counter",
        (),
        "Answers of status 200 passed on that could not be read, and so not captured.",
    ),
    MetricRow(
        "openwheel_answers_strict_late_total",
        "counter",
        (),
        "Answers completed before their commit, though capture is strict.",
    ),
    MetricRow(
        "openwheel_feedback_total",
        "counter",
        (),
        "Feedback on answers that was kept.",
    ),
    MetricRow(
        "openwheel_feedback_refused_total",
        "counter",
        (),
        "Feedback that was not kept: no such answer, no usable correction, no right to give it.",
    ),
    MetricRow(
        "openwheel_exchanges_not_sampled_total",
        "counter",
        (),
        "Exchanges not kept, since only a share of their task's is.",
    ),
    MetricRow(
        "openwheel_capture_queued",
        "gauge",
        ("worker",),
        "Exchanges waiting to be written.",
    ),
    MetricRow(
        "openwheel_capture_written_total",
        "counter",
        (),
        "Exchanges committed to the store.",
    ),
    MetricRow(
        "openwheel_capture_dropped_total",
        "counter",
        (),
        "Exchanges lost, because the queue was full or the writer gave up.",
    ),
    MetricRow(
        "openwheel_capture_repeated_total",
        "counter",
        (),
        "Exchanges left out, since the client's SDK had only asked again.",
    ),
    MetricRow(
        "openwheel_capture_failures_total",
        "counter",
        (),
        "Attempts to write a batch that failed; each was tried again.",
    ),
    MetricRow(
        "openwheel_refresh_errors_total",
        "counter",
        (),
        "Times the promoted students could not be looked up.",
    ),
    MetricRow(
        "openwheel_audit_probability",
        "gauge",
        ("task",),
        "Share of requests for which the teacher is asked whatever the student answers.",
    ),
    MetricRow(
        "openwheel_audit_canary_share",
        "gauge",
        ("task",),
        "Share of requests that the student may answer; a new one starts small.",
    ),
    MetricRow(
        "openwheel_audit_answers",
        "gauge",
        ("task",),
        "Audited answers since the promotion.",
    ),
    MetricRow(
        "openwheel_audit_disagreement_rate",
        "gauge",
        ("task",),
        "Disagreement of audited answers since the promotion.",
    ),
    MetricRow(
        "openwheel_audit_disagreement_bound",
        "gauge",
        ("task", "end"),
        "Ends of its confidence sequence, low and high, at 95% at all times at once.",
    ),
    MetricRow(
        "openwheel_audit_e_value",
        "gauge",
        ("task", "monitor"),
        "Evidence that disagreement is above the limit: of the rate since the promotion, of a "
        "later change.",
    ),
    MetricRow(
        "openwheel_audit_e_value_limit",
        "gauge",
        ("task", "monitor"),
        "The evidence at which the student is taken off.",
    ),
    MetricRow(
        "openwheel_audit_coverage",
        "gauge",
        ("task",),
        "Share of its latest requests (1,000 at most) that the student answered.",
    ),
    MetricRow(
        "openwheel_audit_against_evidence",
        "gauge",
        ("task",),
        "1 where a person put a student back that evidence had taken off, else 0.",
    ),
    MetricRow(
        "openwheel_audit_cost_dollars",
        "gauge",
        ("task",),
        "What audits of the task cost, ever.",
    ),
    MetricRow(
        "openwheel_teacher_changes",
        "gauge",
        ("task",),
        "Changes of a task's teacher that were noticed.",
    ),
    MetricRow(
        "openwheel_teacher_asked_twice",
        "gauge",
        ("task",),
        "Times a task's teacher was asked again, since it last changed.",
    ),
    MetricRow(
        "openwheel_teacher_asked_twice_failed",
        "gauge",
        ("task",),
        "Times it could not be asked again, since then.",
    ),
    MetricRow(
        "openwheel_teacher_self_disagreement_rate",
        "gauge",
        ("task",),
        "Disagreement of its second answers with its first.",
    ),
    MetricRow(
        "openwheel_teacher_self_disagreement_bound",
        "gauge",
        ("task", "end"),
        "Ends of the confidence sequence of that, low and high, at 95% at all times at once.",
    ),
    MetricRow(
        "openwheel_cpu_seconds_total",
        "counter",
        (),
        "CPU time of all workers.",
    ),
    MetricRow(
        "openwheel_memory_bytes",
        "gauge",
        ("worker",),
        "Memory in RAM of a worker.",
    ),
    MetricRow(
        "openwheel_worker_start_time_seconds",
        "gauge",
        ("worker",),
        "When a worker started, in seconds since 1970.",
    ),
    MetricRow(
        "openwheel_worker_snapshot_age_seconds",
        "gauge",
        ("worker",),
        "Since a worker last reported; more than a few seconds means that it hangs.",
    ),
    MetricRow(
        "openwheel_workers",
        "gauge",
        (),
        "Workers that are alive.",
    ),
    MetricRow(
        "openwheel_build_info",
        "info",
        ("version",),
        "The version that runs.",
    ),
)

_UNITS: Final = ("seconds", "bytes", "dollars")


def metrics_page(
    merged: Merged, accept: str = "", more: Sequence[Sample] = ()
) -> tuple[str, bytes]:
    """Return the page's content type and body.

    Takes some milliseconds, and some tens of them the first time, when the library is loaded: it
    is to be called in a thread.

    Args:
        merged: What the workers have counted. What `METRICS` does not list, such as the counts of
            an older version, is left out.
        accept: The request's Accept header; who asks for OpenMetrics gets it.
        more: Gauges that are no worker's own.
    """
    # Here, since only who is scraped should pay for loading it.
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # what it does with a version that is no number
        encode, content_type = choose_encoder("")
    return content_type, encode(_Collector(merged, more))


class _Collector:
    """What the library asks for metrics."""

    def __init__(self, merged: Merged, more: Sequence[Sample]) -> None:
        self._merged = merged
        self._more = more

    def collect(self) -> Iterator["Metric"]:
        """Yield every metric with its values."""
        values = _by_name((*self._merged.counters, *self._merged.gauges, *self._more))
        values["openwheel_workers"] = [Sample("openwheel_workers", (), self._merged.workers)]
        values["openwheel_build_info"] = [
            Sample("openwheel_build_info", (("version", openwheel.__version__),), 1)
        ]
        histograms: dict[str, list[Histogram]] = {}
        for histogram in self._merged.histograms:
            histograms.setdefault(histogram.name, []).append(histogram)
        for row in METRICS:
            yield _metric(row, values.get(row.name, []), histograms.get(row.name, []))


def _metric(row: MetricRow, values: Iterable[Sample], histograms: Iterable[Histogram]) -> "Metric":
    from prometheus_client import metrics_core  # noqa: PLC0415

    # What OpenMetrics calls a family has no suffix, its samples have.
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
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.name, []).append(sample)
    return found
