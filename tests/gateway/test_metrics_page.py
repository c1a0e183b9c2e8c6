"""The page that Prometheus scrapes, read with Prometheus's own parsers."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

import openwheel
from openwheel.gateway import CaptureStats
from openwheel.gateway.audit_metrics import audit_samples, left_out_samples
from openwheel.gateway.meter import Meter, ProcessUsage
from openwheel.gateway.metric import Sample
from openwheel.gateway.metrics_page import METRICS, metrics_page
from openwheel.gateway.snapshots import Merged, merge
from openwheel.loop.audit.status import TaskAudit
from openwheel.loop.drift.status import ChangeStatus, TeacherStatus
from openwheel.loop.records import Beyond
from openwheel.teachers import MemberHealth

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def merged():
    """Return what two workers have counted, with something in every metric."""
    workers = []
    for slot in ("0", "1"):
        meter = Meter()
        meter.request("chat", "student", 200, 0.03, 0.004, "route")
        meter.request("chat", "teacher", 502, 200.0, None, 'odd "name" \\ of\na task, 開く')
        meter.tokens("big", 100, 20, 33)
        meter.audits = 2
        snapshot = meter.snapshot(
            capture=CaptureStats(queued=3, written=40, dropped=2, failed=1),
            teachers=[MemberHealth("big", 2.5, 3, 50, 4, "timeout")],
            usage=ProcessUsage(12.5, 1 << 20),
        )
        workers.append((slot, snapshot))
    return merge(workers)


AUDIT = TaskAudit(
    task="route", id="1", student="s", audit=0.05, canary=0.5, asked=0.525, requests=90,
    answered=45, coverage=0.5, audits=40, loss=1.0, rate=0.025, interval=(0.01, 0.08),
    e_value=0.2, e_value_limit=20.0, change_e_value=3.0, change_limit=1e6, cost=1.5,
    teacher=TeacherStatus(
        asked_twice=200, loss=4.0, rate=0.02, interval=(0.005, 0.06), failed=3,
    ),
)  # fmt: skip
CHANGED = ChangeStatus(
    time=1.0, kind="model", teacher="gpu", model="big-2", fingerprint="", after_seq=9,
    exchange="e10", student="s", did="demoted", reason="the teacher changed",
)  # fmt: skip


def page(merged, accept="", more=()):
    """Return the page's samples, as name and labels to value."""
    content_type, body = metrics_page(merged, accept, more)
    assert body.endswith(b"\n")
    parse = (
        open_metrics_families if "openmetrics" in content_type else text_string_to_metric_families
    )
    samples = {}
    for family in parse(body.decode()):
        assert family.documentation
        for sample in family.samples:
            key = sample.name, *sorted(sample.labels.items())
            assert key not in samples
            samples[key] = sample.value
    return samples


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_counters_of_the_workers_are_summed(merged, accept):
    samples = page(merged, accept)
    requests = ("api", "chat"), ("source", "student"), ("status", "200")
    assert samples["openwheel_requests_total", *requests] == 2
    assert samples["openwheel_audits_total",] == 4
    assert samples["openwheel_capture_written_total",] == 80
    tokens = ("direction", "input"), ("teacher", "big")
    assert samples["openwheel_teacher_tokens_total", *tokens] == 200
    assert samples["openwheel_teacher_cost_dollars_total", ("teacher", "big")] == 0.000066
    assert samples["openwheel_teacher_attempts_failed_total", ("teacher", "big")] == 8
    assert samples["openwheel_cpu_seconds_total",] == 25


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_gauges_are_each_workers_own(merged, accept):
    samples = page(merged, accept)
    for worker in ("0", "1"):
        assert samples["openwheel_capture_queued", ("worker", worker)] == 3
        assert samples["openwheel_memory_bytes", ("worker", worker)] == 1 << 20
        of = ("teacher", "big"), ("worker", worker)
        assert samples["openwheel_teacher_resting_seconds", *of] == 2.5
    assert samples["openwheel_workers",] == 2
    assert samples["openwheel_build_info", ("version", openwheel.__version__)] == 1


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_histograms_are_cumulative(merged, accept):
    samples = page(merged, accept)
    name = "openwheel_request_duration_seconds"
    teacher, student = ("source", "teacher"), ("source", "student")
    chat = ("api", "chat")
    assert samples[f"{name}_bucket", chat, ("le", "0.02"), student] == 0
    assert samples[f"{name}_bucket", chat, ("le", "0.05"), student] == 2
    assert samples[f"{name}_bucket", chat, ("le", "+Inf"), student] == 2
    assert samples[f"{name}_bucket", chat, ("le", "120.0"), teacher] == 0
    assert samples[f"{name}_bucket", chat, ("le", "+Inf"), teacher] == 2
    assert samples[f"{name}_count", chat, teacher] == 2
    assert samples[f"{name}_sum", chat, teacher] == 400


def test_odd_names_survive(merged):
    tasks = {dict(key[1:])["task"] for key in page(merged) if "task_requests" in key[0]}
    assert tasks == {"route", 'odd "name" \\ of\na task, 開く'}


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_every_metric_there_is_shows_and_no_other(merged, accept):
    left_out = left_out_samples(lambda: Beyond(tasks=3, names=5))
    found = page(merged, accept, audit_samples(lambda: [AUDIT]) + left_out)
    assert found["openwheel_tasks_left_out",] == 3
    assert found["openwheel_task_names_left_out",] == 5
    names = {re.sub("_(bucket|sum|count)$", "", key[0]) for key in found}
    assert names == {row.name for row in METRICS}


def test_audits_are_one_gauge_a_task_and_only_of_tasks_with_a_student(merged):
    teacher = TaskAudit(task="free text", id="2")
    found = page(merged, more=audit_samples(lambda: [AUDIT, teacher]))
    task = ("task", "route")
    assert found["openwheel_audit_probability", task] == 0.525
    assert found["openwheel_audit_against_evidence", task] == 0
    assert found["openwheel_audit_disagreement_rate", task] == 0.025
    assert found["openwheel_audit_disagreement_bound", ("end", "high"), task] == 0.08
    assert found["openwheel_audit_e_value", ("monitor", "change"), task] == 3.0
    assert not [key for key in found if ("task", "free text") in key]


def test_a_changed_teacher_shows_when_its_student_is_gone(merged):
    gone = TaskAudit(task="sort", id="2", teacher=TeacherStatus(changes=(CHANGED, CHANGED)))
    found = page(merged, more=audit_samples(lambda: [AUDIT, gone]))
    assert found["openwheel_teacher_changes", ("task", "sort")] == 2
    assert found["openwheel_teacher_changes", ("task", "route")] == 0
    assert found["openwheel_teacher_asked_twice", ("task", "route")] == 200
    assert found["openwheel_teacher_asked_twice_failed", ("task", "route")] == 3
    assert found["openwheel_teacher_self_disagreement_rate", ("task", "route")] == 0.02
    high = ("openwheel_teacher_self_disagreement_bound", ("end", "high"), ("task", "route"))
    assert found[high] == 0.06


def test_names_follow_prometheus():
    for row in METRICS:
        assert re.fullmatch("openwheel_[a-z_]+", row.name)
        assert row.name.endswith("_total") == (row.kind == "counter")
        assert row.help.endswith(".")
        assert not re.search("_(ms|milliseconds|kb|mb)(_|$)", row.name)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html,*/*;q=0.8", "text/plain; version=0.0.4; charset=utf-8"),
        (
            OPEN_METRICS + ",text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text",
        ),
        ("application/openmetrics-text;version=x.y", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_the_one_asked_for(merged, accept, expected):
    content_type, body = metrics_page(merged, accept)
    assert content_type.startswith(expected)
    assert body.endswith(b"# EOF\n") == ("openmetrics" in content_type)


def test_a_gateway_that_has_counted_nothing_has_a_page():
    samples = page(Merged(workers=0))
    assert samples["openwheel_workers",] == 0


def test_what_another_version_counted_is_left_out(merged):
    odd = (Sample("openwheel_old_total", (), 1), Sample("openwheel_audits_total", (("x", "y"),), 1))
    samples = page(msgspec.structs.replace(merged, counters=(*merged.counters, *odd)))
    assert samples["openwheel_audits_total",] == 4
    assert not [key for key in samples if "old" in key[0] or ("x", "y") in key]


def test_the_library_is_loaded_by_the_first_scrape_only():
    code = (
        "import sys\n"
        "from openwheel.gateway.metrics_page import metrics_page\n"
        "from openwheel.gateway.snapshots import Merged\n"
        "assert 'prometheus_client' not in sys.modules\n"
        "metrics_page(Merged(workers=1))\n"
        "assert 'prometheus_client' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_documentation_lists_every_metric():
    rows = re.findall(
        r"^\| `(openwheel_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", DOCS.read_text(), re.M
    )
    assert rows == [
        (row.name, row.kind, ", ".join(f"`{label}`" for label in row.labels), row.help)
        for row in METRICS
    ]


def test_rules_and_queries_name_metrics_that_exist(merged):
    shown = {key[0] for key in page(merged)} | {row.name for row in METRICS}
    assert set(re.findall(r"openwheel_\w+", DOCS.read_text())) <= shown
