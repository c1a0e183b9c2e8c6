"""What a gateway's worker counts while it answers, and the snapshot it makes of it.

Plain integers and floats, touched on the event loop only, so that counting needs no lock and costs
a request about a microsecond. Knows nothing of files, other workers or Prometheus.
"""

import os
import time
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from openwheel.gateway.capture import CaptureStats
from openwheel.teachers import MemberHealth

Source = Literal["student", "teacher", "best_effort", "forwarded", "refused"]
"""Who answered; ``best_effort`` stands for a student below its threshold, ``refused`` for the
gateway itself: keys, limits, bad requests."""

Labels = tuple[tuple[str, str], ...]

BOUNDS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0,
)  # fmt: skip
"""Upper ends of the histograms' buckets, in seconds; one more bucket takes what is longer."""

MOST_TASKS: Final = 500
OTHERS: Final = "(others)"
NO_TASK: Final = "(none)"
_LONGEST_LABEL: Final = 100

# The attributes of `Meter` that are counts as they stand, and the metric each is.
_EVENTS: Final = (
    ("audits", "openwheel_audits_total"),
    ("audits_failed", "openwheel_audits_failed_total"),
    ("uncaptured", "openwheel_answers_uncaptured_total"),
    ("cancelled", "openwheel_requests_cancelled_total"),
    ("student_errors", "openwheel_student_errors_total"),
    ("teacher_errors", "openwheel_teacher_errors_total"),
    ("refresh_errors", "openwheel_refresh_errors_total"),
    ("not_sampled", "openwheel_exchanges_not_sampled_total"),
    ("strict_late", "openwheel_answers_strict_late_total"),
    ("feedback", "openwheel_feedback_total"),
    ("feedback_refused", "openwheel_feedback_refused_total"),
    ("stood_in", "openwheel_stood_in_total"),
    ("waited", "openwheel_requests_waited_total"),
    ("not_waited", "openwheel_requests_not_waited_total"),
)


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One counter or gauge: a metric's name, its labels, its value."""

    name: str
    labels: Labels
    value: float


class Histogram(msgspec.Struct, frozen=True, array_like=True):
    """One histogram.

    Attributes:
        bounds: The buckets' upper ends, in seconds.
        counts: How many fell into each bucket, none counted twice; one more than bounds.
        sum: Of all that was observed, in seconds.
    """

    name: str
    labels: Labels
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker has counted since it started.

    Attributes:
        id: The worker's, never used again.
        number: How many snapshots the worker had made before.
        time, started: When it was made and when the worker started, in seconds of the monotonic
            clock, which all processes of a machine share and nobody sets.
        gauges: What holds now and says nothing once the worker is gone.
    """

    id: str
    number: int
    time: float
    started: float
    counters: tuple[Sample, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    gauges: tuple[Sample, ...] = ()


class ProcessUsage(msgspec.Struct, frozen=True):
    """What a process uses.

    Attributes:
        cpu_seconds: CPU time since it started, of all its threads.
        memory_bytes: Memory in RAM; None where the system does not tell.
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
    """What one teacher was asked to read and write."""

    __slots__ = ("input", "micro_dollars", "output")

    def __init__(self) -> None:
        self.input = self.output = self.micro_dollars = 0


class Meter:
    """Counts what a worker does.

    Attributes:
        audits: Audits asked of the teacher and captured.
        audits_failed: Audits without an answer that could be captured.
        uncaptured: Answers of status 200 passed on that could not be read, and so not captured.
        cancelled: Requests whose client went away before the answer was whole.
        student_errors: Requests a student failed on; the teacher answered them.
        teacher_errors: Requests for which no teacher could be reached or it broke off.
        refresh_errors: Times the promoted students could not be refreshed.
        not_sampled: Exchanges not kept since only a share of their task's is.
        strict_late: Answers completed before their commit, though capture is strict.
        feedback, feedback_refused: Feedback that was kept, and that was not.
        stood_in: Requests meant for the teacher that a student answered as it is certified to,
            since the teacher could not be reached.
        waited: Requests that waited for a teacher to come back.
        not_waited: Those that did not since too many did.
    """

    def __init__(self) -> None:
        self.audits = 0
        self.audits_failed = 0
        self.uncaptured = 0
        self.cancelled = 0
        self.student_errors = 0
        self.teacher_errors = 0
        self.refresh_errors = 0
        self.not_sampled = 0
        self.strict_late = 0
        self.feedback = self.feedback_refused = 0
        self.stood_in = 0
        self.waited = self.not_waited = 0
        self._id = uuid.uuid4().hex
        self._number = 0
        self._started, self._began = time.time(), time.monotonic()
        self._kinds: dict[tuple[str, Source, int], _Kind] = {}
        self._durations: dict[tuple[str, Source], tuple[_Distribution, _Distribution]] = {}
        self._tasks: dict[tuple[str, Source], int] = {}
        self._task_names: set[str] = set()
        self._spent: dict[str, _Spent] = {}

    def request(  # noqa: PLR0917 - the hot path; keywords would cost what counting does
        self,
        api: str,
        source: Source,
        status: int,
        seconds: float,
        first_byte: float | None,
        task: str,
    ) -> None:
        """Count one request that is over.

        Args:
            api: The API's name; one of few, since each has histograms of its own.
            status: Of the response that was sent, or would have been.
            seconds: From the request being whole to the response's end.
            first_byte: Seconds from the request being whole to the response's first byte; None if
                none was sent.
            task: The task's name, ``""`` if it belongs to none. Names past the first 500 count
                as one, ``(others)``.
        """
        kind = self._kinds.get((api, source, status)) or self._new_kind(api, source, status)
        kind.count += 1
        distribution = kind.durations
        distribution.counts[bisect_left(BOUNDS, seconds)] += 1
        distribution.sum += seconds
        if first_byte is not None:
            distribution = kind.first_bytes
            distribution.counts[bisect_left(BOUNDS, first_byte)] += 1
            distribution.sum += first_byte
        try:
            self._tasks[task, source] += 1
        except KeyError:
            self._new_task(task, source)

    def tokens(self, teacher: str, input: int, output: int, micro_dollars: int) -> None:
        """Count what one answer of a teacher took.

        Args:
            teacher: The teacher's name.
            input, output: Tokens it read and wrote.
            micro_dollars: What that costs, in millionths of a dollar.
        """
        spent = self._spent.get(teacher)
        if spent is None:
            spent = self._spent[teacher] = _Spent()
        spent.input += input
        spent.output += output
        spent.micro_dollars += micro_dollars

    def counts(self) -> dict[str, int]:
        """Return requests by source, and the class's attributes, for ``/healthz``."""
        counts = dict.fromkeys(get_args(Source), 0)
        for (_, source, _), kind in self._kinds.items():
            counts[source] += kind.count
        for attribute, _ in _EVENTS:
            counts[attribute] = getattr(self, attribute)
        return counts

    def snapshot(
        self,
        *,
        capture: CaptureStats | None = None,
        teachers: Sequence[MemberHealth] = (),
        usage: ProcessUsage | None = None,
        waiting: int = 0,
        down: bool = False,
    ) -> Snapshot:
        """Return all that was counted so far.

        Args:
            capture: How this worker's capture stands.
            teachers: How its teachers have been doing.
            usage: What its process uses.
            waiting: Requests that wait for a teacher.
            down: Whether there are requests that no teacher can be reached for.
        """
        counters = self._counters()
        gauges = [
            Sample("openwheel_worker_start_time_seconds", (), self._started),
            Sample("openwheel_requests_waiting", (), waiting),
            Sample("openwheel_teacher_down", (), float(down)),
        ]
        if capture is not None:
            counters += (
                Sample(f"openwheel_capture_{name}_total", (), value)
                for name, value in (
                    ("written", capture.written),
                    ("dropped", capture.dropped),
                    ("repeated", capture.repeated),
                    ("failures", capture.failed),
                )
            )
            gauges.append(Sample("openwheel_capture_queued", (), capture.queued))
        for teacher in teachers:
            named = (("teacher", label(teacher.name)),)
            counters.append(Sample("openwheel_teacher_attempts_total", named, teacher.requests))
            counters.append(
                Sample("openwheel_teacher_attempts_failed_total", named, teacher.errors)
            )
            gauges.append(Sample("openwheel_teacher_resting_seconds", named, teacher.resting_s))
        if usage is not None:
            counters.append(Sample("openwheel_cpu_seconds_total", (), usage.cpu_seconds))
            if usage.memory_bytes is not None:
                gauges.append(Sample("openwheel_memory_bytes", (), usage.memory_bytes))
        number, self._number = self._number, self._number + 1
        return Snapshot(
            id=self._id,
            number=number,
            time=time.monotonic(),
            started=self._began,
            counters=tuple(counters),
            histograms=tuple(self._histograms()),
            gauges=tuple(gauges),
        )

    def _counters(self) -> list[Sample]:
        counters = [
            Sample(
                "openwheel_requests_total",
                (("api", api), ("source", source), ("status", str(status))),
                kind.count,
            )
            for (api, source, status), kind in self._kinds.items()
        ]
        counters += (
            Sample(
                "openwheel_task_requests_total",
                (("task", task or NO_TASK), ("source", source)),
                count,
            )
            for (task, source), count in self._tasks.items()
        )
        for teacher, spent in self._spent.items():
            named = ("teacher", label(teacher))
            counters += (
                Sample("openwheel_teacher_tokens_total", (named, ("direction", direction)), count)
                for direction, count in (("input", spent.input), ("output", spent.output))
            )
            dollars = spent.micro_dollars / 1_000_000
            counters.append(Sample("openwheel_teacher_cost_dollars_total", (named,), dollars))
        counters += (Sample(name, (), getattr(self, attribute)) for attribute, name in _EVENTS)
        return counters

    def _histograms(self) -> list[Histogram]:
        return [
            Histogram(
                name,
                (("api", api), ("source", source)),
                BOUNDS,
                tuple(distribution.counts),
                distribution.sum,
            )
            for (api, source), both in self._durations.items()
            for name, distribution in zip(
                ("openwheel_request_duration_seconds", "openwheel_request_first_byte_seconds"),
                both,
                strict=True,
            )
        ]

    def _new_kind(self, api: str, source: Source, status: int) -> _Kind:
        both = self._durations.get((api, source))
        if both is None:
            both = self._durations[api, source] = _Distribution(), _Distribution()
        kind = self._kinds[api, source, status] = _Kind(*both)
        return kind

    def _new_task(self, task: str, source: Source) -> None:
        # Under a name cut short each of its requests comes here, and none is kept in full.
        task = label(task)
        if task and task not in self._task_names:
            if len(self._task_names) < MOST_TASKS:
                self._task_names.add(task)
            else:
                task = OTHERS
        self._tasks[task, source] = self._tasks.get((task, source), 0) + 1


def within_most_tasks(counters: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return counters with no more than 500 tasks among them; the rest count as ``(others)``.

    One worker never has more. Many that followed one another might, each with other tasks.
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
    """Return a name as a label's value: not endless, and such that it can be written as UTF-8."""
    return text[:_LONGEST_LABEL].encode(errors="replace").decode()
