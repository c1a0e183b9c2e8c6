"""Counts a worker's requests and events, and makes snapshots of the counts.

The counts are plain integers and floats, changed on the event loop only, so counting needs no lock
and costs a request about a microsecond. Knows nothing of files, other workers or Prometheus.
"""

import os
import time
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, get_args, get_type_hints

import msgspec

from openwheel.gateway.capture import CaptureStats
from openwheel.gateway.metric import Count, Labels, Metric, Of, Sample, Values
from openwheel.teachers import MemberHealth

Source = Literal["student", "teacher", "best_effort", "mixed", "forwarded", "refused"]
"""Who answered; ``best_effort`` stands for a student below its threshold, ``mixed`` for students
and the teacher, each some questions of a decision, ``refused`` for the gateway itself: keys,
limits, bad requests."""

BOUNDS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0,
)  # fmt: skip
"""Upper ends of the histograms' buckets, in seconds; one more bucket takes what is longer."""

MOST_TASKS: Final = 500
OTHERS: Final = "(others)"
NO_TASK: Final = "(none)"
_LONGEST_LABEL: Final = 100


class Histogram(msgspec.Struct, frozen=True, array_like=True):
    """One histogram.

    Attributes:
        bounds: The buckets' upper ends, in seconds.
        counts: How many fell into each bucket, none counted twice; one more than bounds.
        sum: Of all observations, in seconds.
    """

    name: str
    labels: Labels
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one worker since it started.

    Attributes:
        id: The worker's, never used again.
        number: How many snapshots the worker had made before.
        time, started: When it was made and when the worker started, in seconds of the monotonic
            clock, which all processes of a machine share.
        gauges: Values of now, which mean nothing once the worker is gone.
    """

    id: str
    number: int
    time: float
    started: float
    counters: tuple[Sample, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    gauges: tuple[Sample, ...] = ()


class ProcessUsage(msgspec.Struct, frozen=True):
    """The resources that a process uses.

    Attributes:
        cpu_seconds: CPU time since it started, of all its threads.
        memory_bytes: Memory in RAM; None if the system does not report it.
    """

    cpu_seconds: float
    memory_bytes: int | None


def process_usage() -> ProcessUsage:
    """Return what this process uses (`/proc/self/statm`, see proc(5), where there is one)."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return ProcessUsage(time.process_time(), None)
    return ProcessUsage(time.process_time(), pages * os.sysconf("SC_PAGE_SIZE"))


class _Distribution:
    """A histogram that is being filled."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0


class _Kind:
    """The requests of one API, source and status."""

    __slots__ = ("count", "durations", "first_bytes")

    def __init__(self, durations: _Distribution, first_bytes: _Distribution) -> None:
        self.count = 0
        self.durations = durations
        self.first_bytes = first_bytes


class _Spent:
    """The tokens that one teacher read and wrote."""

    __slots__ = ("input", "micro_dollars", "output")

    def __init__(self) -> None:
        self.input = self.output = self.micro_dollars = 0


class Events:
    """Events that are counted; each field is a count with the metric that shows it."""

    # fmt: off
    audits: Annotated[int, Count("openwheel_audits_total",
        "Audits asked of the teacher and captured.")] = 0
    audits_failed: Annotated[int, Count("openwheel_audits_failed_total",
        "Audits without an answer that could be captured.")] = 0
    uncaptured: Annotated[int, Count("openwheel_answers_uncaptured_total",
        "Answers of status 200 passed on that could not be read, and so not captured.")] = 0
    cancelled: Annotated[int, Count("openwheel_requests_cancelled_total",
        "Requests whose client went away before the answer was whole.")] = 0
    student_errors: Annotated[int, Count("openwheel_student_errors_total",
        "Requests a student failed on; the teacher answered them.")] = 0
    teacher_errors: Annotated[int, Count("openwheel_teacher_errors_total",
        "Requests for which no teacher could be reached, or it broke off.")] = 0
    refresh_errors: Annotated[int, Count("openwheel_refresh_errors_total",
        "Times the promoted students could not be looked up.")] = 0
    not_sampled: Annotated[int, Count("openwheel_exchanges_not_sampled_total",
        "Exchanges not kept, since only a share of their task's is.")] = 0
    strict_late: Annotated[int, Count("openwheel_answers_strict_late_total",
        "Answers completed before their commit, though capture is strict.")] = 0
    feedback: Annotated[int, Count("openwheel_feedback_total",
        "Feedback on answers that was kept.")] = 0
    feedback_refused: Annotated[int, Count("openwheel_feedback_refused_total",
        "Feedback that was not kept: no such answer, no usable correction, no right to give it."
    )] = 0
    stood_in: Annotated[int, Count("openwheel_stood_in_total",
        "Requests for the teacher that a certified student answered, since it was down.")] = 0
    waited: Annotated[int, Count("openwheel_requests_waited_total",
        "Requests that waited for a teacher to come back.")] = 0
    not_waited: Annotated[int, Count("openwheel_requests_not_waited_total",
        "Requests that failed at once, since too many waited.")] = 0
    # fmt: on


class Meter(Events):
    """Counts a worker's requests and events.

    Attributes:
        began: When it began to, in seconds since 1970.
        kinds, durations, tasks, spent: The counts of requests and of teachers.
    """

    def __init__(self) -> None:
        self.began = time.time()
        self.kinds: dict[tuple[str, Source, int], _Kind] = {}
        self.durations: dict[tuple[str, Source], tuple[_Distribution, _Distribution]] = {}
        self.tasks: dict[tuple[str, Source], int] = {}
        self.spent: dict[str, _Spent] = {}
        self._id = uuid.uuid4().hex
        self._number = 0
        self._started = time.monotonic()
        self._task_names: set[str] = set()

    def request(  # noqa: PLR0917 - the hot path; keywords would cost what counting does
        self,
        api: str,
        source: Source,
        status: int,
        seconds: float,
        first_byte: float | None,
        task: str | None,
    ) -> None:
        """Count one request that is over.

        Args:
            api: The API's name; one of few, since each has histograms of its own.
            status: Of the response that was sent, or would have been.
            seconds: From the request's head to the response's end.
            first_byte: From the request's head to the response's first byte, if one was sent.
            task: Its name, if any. Names past the first 500 count as one, ``(others)``. None if
                its tasks are counted one by one, by `answered`.
        """
        kind = self.kinds.get((api, source, status)) or self._new_kind(api, source, status)
        kind.count += 1
        distribution = kind.durations
        distribution.counts[bisect_left(BOUNDS, seconds)] += 1
        distribution.sum += seconds
        if first_byte is not None:
            distribution = kind.first_bytes
            distribution.counts[bisect_left(BOUNDS, first_byte)] += 1
            distribution.sum += first_byte
        if task is not None:
            self.answered(task, source)

    def answered(self, task: str, source: Source) -> None:
        """Count one request of a task, or one of the questions that a request asks."""
        try:
            self.tasks[task, source] += 1
        except KeyError:
            self._new_task(task, source)

    def tokens(self, teacher: str, input: int, output: int, micro_dollars: int) -> None:
        """Count the tokens of one teacher's answer, and their cost in millionths of a dollar."""
        spent = self.spent.get(teacher)
        if spent is None:
            spent = self.spent[teacher] = _Spent()
        spent.input += input
        spent.output += output
        spent.micro_dollars += micro_dollars

    def counts(self) -> dict[str, int]:
        """Return the counts of requests by source and of events, for ``/healthz``."""
        counts = dict.fromkeys(get_args(Source), 0)
        for (_, source, _), kind in self.kinds.items():
            counts[source] += kind.count
        return counts | {name: getattr(self, name) for name in _EVENTS}

    def snapshot(
        self,
        *,
        capture: CaptureStats | None = None,
        teachers: Sequence[MemberHealth] = (),
        usage: ProcessUsage | None = None,
        waiting: int = 0,
        down: bool = False,
    ) -> Snapshot:
        """Return a snapshot of all counts.

        ``waiting``: how many requests wait for a teacher; ``down``: whether some reach none.
        """
        counters: list[Sample] = []
        gauges: list[Sample] = []

        def read(metrics: Iterable[Metric[Of]], of: Of, labels: Labels = ()) -> None:
            for metric in metrics:
                samples = counters if metric.kind == "counter" else gauges
                samples.extend(metric.samples(of, labels))

        read(COUNTED, self)
        read(REACHED, (waiting, down))
        if capture is not None:
            read(CAPTURED, capture)
        for teacher in teachers:
            read(TEACHERS, teacher, (("teacher", label(teacher.name)),))
        if usage is not None:
            read(USED, usage)
        number, self._number = self._number, self._number + 1
        return Snapshot(
            id=self._id,
            number=number,
            time=time.monotonic(),
            started=self._started,
            counters=tuple(counters),
            histograms=tuple(self._histograms()),
            gauges=tuple(gauges),
        )

    def _histograms(self) -> list[Histogram]:
        return [
            Histogram(
                metric.name,
                tuple(zip(metric.labels, key, strict=True)),
                BOUNDS,
                tuple(distribution.counts),
                distribution.sum,
            )
            for key, both in self.durations.items()
            for metric, distribution in zip(DISTRIBUTED, both, strict=True)
        ]

    def _new_kind(self, api: str, source: Source, status: int) -> _Kind:
        both = self.durations.get((api, source))
        if both is None:
            both = self.durations[api, source] = _Distribution(), _Distribution()
        kind = self.kinds[api, source, status] = _Kind(*both)
        return kind

    def _new_task(self, task: str, source: Source) -> None:
        # Under a name cut short each of its requests comes here, and none is kept in full.
        task = label(task)
        if task and task not in self._task_names:
            if len(self._task_names) < MOST_TASKS:
                self._task_names.add(task)
            else:
                task = OTHERS
        self.tasks[task, source] = self.tasks.get((task, source), 0) + 1


def within_most_tasks(counters: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return counters with no more than 500 tasks among them; the rest count as ``(others)``.

    One worker never has more. Successive workers together may, each with other tasks.
    """
    tasks: set[str] = set()
    counts: dict[tuple[str, Labels], float] = {}
    for sample in counters:
        labels = sample.labels
        if labels and labels[0][0] == "task":
            if len(tasks) < MOST_TASKS:
                tasks.add(labels[0][1])
            if labels[0][1] not in tasks:
                labels = (("task", OTHERS), *labels[1:])
        counts[sample.name, labels] = counts.get((sample.name, labels), 0) + sample.value
    return tuple(Sample(*key, value) for key, value in counts.items())


def label(text: str) -> str:
    """Return a name as a label's value: bounded in length, and valid UTF-8."""
    return text[:_LONGEST_LABEL].encode(errors="replace").decode()


def _requests(meter: Meter) -> Values:
    return [
        ((api, source, str(status)), kind.count)
        for (api, source, status), kind in meter.kinds.items()
    ]


def _tokens(meter: Meter) -> Iterator[tuple[tuple[str, ...], float]]:
    for teacher, spent in meter.spent.items():
        yield (label(teacher), "input"), spent.input
        yield (label(teacher), "output"), spent.output


_EVENTS: Final[Mapping[str, Count]] = MappingProxyType(
    {
        name: hint.__metadata__[0]
        for name, hint in get_type_hints(Events, include_extras=True).items()
    }
)

# fmt: off
COUNTED: Final[tuple[Metric[Meter], ...]] = (
    Metric("openwheel_requests_total", "Requests that are over, by who answered.",
           _requests, ("api", "source", "status")),
    Metric("openwheel_task_requests_total", "The same requests by task.",
           lambda meter: [((task or NO_TASK, by), n) for (task, by), n in meter.tasks.items()],
           ("task", "source")),
    Metric("openwheel_teacher_tokens_total", "Tokens a teacher read (input) and wrote (output).",
           _tokens, ("teacher", "direction")),
    Metric("openwheel_teacher_cost_dollars_total", "What those tokens cost at the prices set.",
           lambda meter: [((label(name),), cost.micro_dollars / 1e6)
                          for name, cost in meter.spent.items()],
           ("teacher",)),
    *(Metric(count.name, count.help, attrgetter(name)) for name, count in _EVENTS.items()),
    Metric("openwheel_worker_start_time_seconds", "When a worker started, in seconds since 1970.",
           lambda meter: meter.began, ("worker",)),
)

DISTRIBUTED: Final[tuple[Metric[Meter], ...]] = (
    Metric("openwheel_request_duration_seconds",
           "From the request's head to the end of the response.",
           labels=("api", "source"), shape="histogram"),
    Metric("openwheel_request_first_byte_seconds",
           "From the request's head to the first byte of the response.",
           labels=("api", "source"), shape="histogram"),
)

REACHED: Final[tuple[Metric[tuple[int, bool]], ...]] = (
    Metric("openwheel_teacher_down",
           "1 while there are requests that no teacher can be reached for.",
           lambda now: float(now[1]), ("worker",)),
    Metric("openwheel_requests_waiting", "Requests that wait for a teacher to come back.",
           lambda now: now[0], ("worker",)),
)

CAPTURED: Final[tuple[Metric[CaptureStats], ...]] = (
    Metric("openwheel_capture_queued", "Exchanges waiting to be written.",
           lambda stats: stats.queued, ("worker",)),
    Metric("openwheel_capture_written_total", "Exchanges committed to the store.",
           lambda stats: stats.written),
    Metric("openwheel_capture_dropped_total",
           "Exchanges lost, because the queue was full or the writer gave up.",
           lambda stats: stats.dropped),
    Metric("openwheel_capture_repeated_total",
           "Exchanges left out, since the client's SDK had only asked again.",
           lambda stats: stats.repeated),
    Metric("openwheel_capture_failures_total",
           "Attempts to write a batch that failed; each was tried again.",
           lambda stats: stats.failed),
)

TEACHERS: Final[tuple[Metric[MemberHealth], ...]] = (
    Metric("openwheel_teacher_attempts_total",
           "Requests sent to a teacher, retries and audits included.",
           lambda teacher: teacher.requests, ("teacher",)),
    Metric("openwheel_teacher_attempts_failed_total",
           "Of these, those that failed: no connection, too slow, status 429 or 5xx, broken off.",
           lambda teacher: teacher.errors, ("teacher",)),
    Metric("openwheel_teacher_resting_seconds",
           "Seconds until a teacher that failed is asked again before others; 0 if it is well.",
           lambda teacher: teacher.resting_s, ("worker", "teacher")),
)

USED: Final[tuple[Metric[ProcessUsage], ...]] = (
    Metric("openwheel_cpu_seconds_total", "CPU time of all workers.",
           lambda usage: usage.cpu_seconds),
    Metric("openwheel_memory_bytes", "Memory in RAM of a worker.",
           lambda usage: usage.memory_bytes, ("worker",)),
)
# fmt: on
