import itertools
import math

import pytest

from openwheel.gateway import CaptureStats
from openwheel.gateway.meter import BOUNDS, MOST_TASKS, Meter, ProcessUsage, process_usage
from openwheel.gateway.snapshots import merge
from openwheel.teachers import MemberHealth


def counter(snapshot, name, **labels):
    """Return a counter's value, None if there is no such."""
    found = [
        one.value
        for one in snapshot.counters
        if one.name == name and labels.items() <= dict(one.labels).items()
    ]
    return sum(found) if found else None


def histogram(snapshot, name, source):
    (found,) = [
        one
        for one in snapshot.histograms
        if one.name == name and dict(one.labels)["source"] == source
    ]
    return found


def test_requests_count_by_api_source_status_and_task():
    meter = Meter()
    for _ in range(3):
        meter.request("chat", "student", 200, 0.001, 0.001, "route")
    meter.request("chat", "teacher", 200, 1.0, 0.5, "route")
    meter.request("messages", "teacher", 502, 1.0, None, "")
    meter.request("chat", "refused", 401, 0.0001, 0.0001, "")
    snapshot = meter.snapshot()
    name = "openwheel_requests_total"
    assert counter(snapshot, name, api="chat", source="student", status="200") == 3
    assert counter(snapshot, name, api="messages", source="teacher", status="502") == 1
    assert counter(snapshot, name) == 6
    name = "openwheel_task_requests_total"
    assert counter(snapshot, name, task="route", source="student") == 3
    assert counter(snapshot, name, task="route", source="teacher") == 1
    assert counter(snapshot, name, task="(none)") == 2
    counts = meter.counts()
    assert (counts["student"], counts["teacher"], counts["refused"]) == (3, 2, 1)


def test_histograms_hold_every_request_once():
    meter = Meter()
    for seconds in (0.0, 0.001, 0.0011, 0.7, 120.0, 121.0, math.inf):
        meter.request("chat", "teacher", 200, seconds, None, "")
    found = histogram(meter.snapshot(), "openwheel_request_duration_seconds", "teacher")
    filled = {
        bound: count
        for bound, count in zip((*BOUNDS, math.inf), found.counts, strict=True)
        if count
    }
    assert filled == {0.001: 2, 0.002: 1, 1.0: 1, 120.0: 1, math.inf: 2}


def test_first_bytes_are_counted_where_there_was_one():
    meter = Meter()
    meter.request("chat", "teacher", 200, 4.0, 0.25, "")
    meter.request("chat", "teacher", 200, 6.0, None, "")
    meter.request("chat", "teacher", 500, 8.0, 0.5, "")
    snapshot = meter.snapshot()
    whole = histogram(snapshot, "openwheel_request_duration_seconds", "teacher")
    first = histogram(snapshot, "openwheel_request_first_byte_seconds", "teacher")
    assert (sum(whole.counts), whole.sum) == (3, 18.0)
    assert (sum(first.counts), first.sum) == (2, 0.75)


def test_buckets_go_from_a_millisecond_to_two_minutes():
    assert BOUNDS[0] == 0.001
    assert BOUNDS[-1] == 120.0
    ratios = [upper / lower for lower, upper in itertools.pairwise(BOUNDS)]
    assert all(1.5 < ratio <= 3.0 for ratio in ratios)


def test_tasks_past_the_first_500_count_as_one():
    meter = Meter()
    for number in range(MOST_TASKS + 20):
        for _ in range(2):
            meter.request("chat", "teacher", 200, 0.1, 0.1, f"task {number}")
    meter.request("chat", "student", 200, 0.1, 0.1, "task 3")
    meter.request("chat", "student", 200, 0.1, 0.1, "")
    snapshot = meter.snapshot()
    name = "openwheel_task_requests_total"
    assert counter(snapshot, name, task="task 499") == 2
    assert counter(snapshot, name, task="task 500") is None
    assert counter(snapshot, name, task="(others)") == 40
    assert counter(snapshot, name, task="task 3", source="student") == 1
    assert counter(snapshot, name, task="(none)") == 1


def test_a_name_is_neither_endless_nor_unwritable():
    meter = Meter()
    for _ in range(3):
        meter.request("chat", "teacher", 200, 0.1, 0.1, "x" * 1_000_000)
        meter.request("chat", "teacher", 200, 0.1, 0.1, "a\ud800b")
    meter.request("chat", "teacher", 200, 0.1, 0.1, "(none)")
    meter.request("chat", "teacher", 200, 0.1, 0.1, "")
    merged = merge([("0", meter.snapshot())])
    tasks = {
        dict(one.labels)["task"]: one.value
        for one in merged.counters
        if one.name == "openwheel_task_requests_total"
    }
    assert tasks == {"x" * 100: 3, "a?b": 3, "(none)": 2}


def test_tokens_and_cost_by_teacher():
    meter = Meter()
    meter.tokens("big", 100, 20, 1_500_000)
    meter.tokens("big", 10, 2, 250_000)
    meter.tokens("small", 1, 1, 0)
    snapshot = meter.snapshot()
    name = "openwheel_teacher_tokens_total"
    assert counter(snapshot, name, teacher="big", direction="input") == 110
    assert counter(snapshot, name, teacher="big", direction="output") == 22
    assert counter(snapshot, name, teacher="small") == 2
    assert counter(snapshot, "openwheel_teacher_cost_dollars_total", teacher="big") == 1.75


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
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
    ],
)
def test_each_event_is_a_counter_of_its_own(attribute, name):
    meter = Meter()
    setattr(meter, attribute, 7)
    snapshot = meter.snapshot()
    assert counter(snapshot, name) == 7
    assert sum(one.value for one in snapshot.counters) == 7
    assert meter.counts()[attribute] == 7
    assert sum(meter.counts().values()) == 7


def test_what_others_know_is_in_the_snapshot():
    snapshot = Meter().snapshot(
        capture=CaptureStats(queued=3, written=40, dropped=2, repeated=5, failed=1),
        teachers=[MemberHealth("big", 2.5, 3, 50, 4, "timeout"), MemberHealth("b", 0, 0, 1, 0, "")],
        usage=ProcessUsage(12.5, 1 << 20),
    )
    assert counter(snapshot, "openwheel_capture_written_total") == 40
    assert counter(snapshot, "openwheel_capture_dropped_total") == 2
    assert counter(snapshot, "openwheel_capture_repeated_total") == 5
    assert counter(snapshot, "openwheel_capture_failures_total") == 1
    assert counter(snapshot, "openwheel_teacher_attempts_total", teacher="big") == 50
    assert counter(snapshot, "openwheel_teacher_attempts_failed_total", teacher="big") == 4
    assert counter(snapshot, "openwheel_cpu_seconds_total") == 12.5
    gauges = {(one.name, *one.labels): one.value for one in snapshot.gauges}
    assert gauges["openwheel_capture_queued",] == 3
    assert gauges["openwheel_teacher_resting_seconds", ("teacher", "big")] == 2.5
    assert gauges["openwheel_teacher_resting_seconds", ("teacher", "b")] == 0
    assert gauges["openwheel_memory_bytes",] == 1 << 20


def test_a_process_knows_what_it_uses():
    before = process_usage()
    kept = bytearray(64 << 20)
    kept[::4096] = b"x" * len(kept[::4096])  # so that the pages are there
    after = process_usage()
    assert after.cpu_seconds > before.cpu_seconds
    if before.memory_bytes is not None:
        assert after.memory_bytes - before.memory_bytes > 32 << 20
