"""Learns from logs, evaluates students on them, replays them."""

import contextlib
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict, replace

from openwheel.cli import options
from openwheel.cli.output import (
    note,
    out,
    percent,
    print_json,
    print_problems,
    print_table,
    warn,
)
from openwheel.cli.progress import shown, stopping
from openwheel.progress import Progress, each
from openwheel.settings.place import shown_place

if TYPE_CHECKING:
    from openwheel.importing import LogProblems
    from openwheel.loop.offline.evaluate import Evaluation, Score
    from openwheel.loop.offline.findings import Finding, Findings
    from openwheel.loop.offline.replay import Replayed
    from openwheel.store import Exchange, Store

IMPORT_BATCH = 5_000


@options.grouped
def learn(
    logs: options.Logs,
    loop: options.LoopOptions,
    db: options.Database = options.DEFAULT_DATABASE,
    report: Annotated[Path | None, typer.Option(help="Write a report to this HTML file.")] = None,
    json: options.Json = False,
    in_order: options.InOrder = False,
    shuffle: options.Shuffle = None,
    ray: Annotated[
        str, typer.Option(help="Train on this Ray cluster: HOST:PORT, ray://HOST:PORT or auto.")
    ] = "",
    *,
    reading: options.ReadingOptions,
) -> None:
    """Find the tasks in logs, train students, and certify those that agree with the teacher.

    The logs are added to the store (a line that is there already is not added again), and every
    task in it whose answers students learn is trained on all but its latest quarter, which then
    judges the student.
    """
    settings = loop.settings()
    if ray:
        settings = replace(settings, executor="ray", ray_address=ray)
    from openwheel.importing import LogProblems
    from openwheel.loop.offline.learn import learn as run
    from openwheel.loop.resources import open_resources
    from openwheel.store import Store

    problems = LogProblems()
    added = 0

    def kept() -> str:
        return (
            f"{added:,} new exchanges were added to {shown_place(db)}, and what was certified is "
            "kept. The same command goes on: what is there is not added again."
        )

    with (
        stopping(kept),
        shown() as progress,
        Store.open(db, objects=options.settings_from(None).store.objects) as store,
        options.learning(store) as leases,
        open_resources(settings, options.connect()) as resources,
    ):
        # Exchangeable rows are in any order that one likes.
        in_order = in_order or shuffle is not None
        exchanges = _read(logs, reading, problems, progress, in_order=in_order)
        for new in _store(store, exchanges, vouch=in_order):
            added += new
        print_problems(problems)
        problems.require_usable()
        note(f"{problems.usable:,} exchanges read, {added:,} of them new in {shown_place(db)}")
        findings = run(
            store,
            settings,
            source=", ".join(logs),
            shuffle=shuffle,
            details=report is not None,
            leases=leases,
            resources=resources,
            progress=progress,
        )
    for warning in findings.warnings:
        warn(warning)
    if report is not None:
        from openwheel.web.report import write_report

        write_report(findings, report)
        note(f"report: {report}")
    if json:
        print_json(_learned(findings, problems))
    else:
        _print_findings(findings, db, loop.answer)


@options.grouped
def evaluate(
    log: options.Log,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
    *,
    reading: options.ReadingOptions,
) -> None:
    """Show what the promoted students would have done on another log. Nothing is stored."""
    from openwheel.importing import LogProblems
    from openwheel.loop.offline.evaluate import evaluate as run
    from openwheel.loop.registry import Registry
    from openwheel.loop.serving import RegistryServing
    from openwheel.store import Store

    problems = LogProblems()
    with (
        stopping(lambda: "an evaluation stores nothing."),
        shown() as progress,
        Store.open(db, create=False) as store,
    ):
        serving = RegistryServing(Registry(store))
        if not serving.students():
            warn(f"no student is promoted in {shown_place(db)}: everything is left to the teacher")
        exchanges = _read([log], reading, problems, progress)
        evaluation = run(serving, exchanges)
    print_problems(problems)
    problems.require_usable()
    if json:
        print_json(
            {
                "tasks": [{"task": t.task, **asdict(t.score)} for t in evaluation.tasks],
                "total": asdict(evaluation.total),
            }
        )
    else:
        _print_scores(evaluation)


@options.grouped
def replay(
    log: options.Log,
    loop: options.LoopOptions,
    seed: Annotated[int, typer.Option(help="Of the audit coin.")] = 0,
    db: Annotated[
        Path | None, typer.Option(help="Keep the store here; it must not exist yet.")
    ] = None,
    json: options.Json = False,
    shuffle: options.Shuffle = None,
    *,
    reading: options.ReadingOptions,
) -> None:
    """Send a log through the loop as live traffic from nothing, with turns and audits."""
    settings = loop.settings()
    import random

    from openwheel.errors import SettingError
    from openwheel.importing import LogProblems
    from openwheel.loop.offline.replay import replay as run
    from openwheel.loop.resources import open_resources
    from openwheel.store import Store

    if db is not None and db.exists():
        raise SettingError(f"--db must be a new file: a replay starts from nothing, and {db} is")
    problems = LogProblems()
    remainder = "" if db is None else f", and {db} holds a part of one"
    with contextlib.ExitStack() as stack:
        stack.enter_context(stopping(lambda: f"a replay starts from nothing{remainder}."))
        progress = stack.enter_context(shown())
        exchanges: Iterator[Exchange] = _read([log], reading, problems, progress)
        if shuffle is not None:
            rows = list(exchanges)
            random.Random(shuffle).shuffle(rows)
            exchanges = each(progress, "replaying", rows, "exchanges", total=len(rows))
        if db is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="openwheel-"))
            db = Path(folder) / "replay.db"
        store = stack.enter_context(Store.open(db))
        resources = stack.enter_context(open_resources(settings, options.connect()))
        replayed = run(
            store,
            exchanges,
            settings,
            seed=seed,
            resources=resources,
            progress=progress,
        )
    print_problems(problems)
    problems.require_usable()
    if json:
        print_json(_replayed(replayed))
    else:
        _print_replay(replayed)


def _read(
    logs: list[str],
    reading: options.ReadingOptions,
    problems: "LogProblems",
    progress: Progress,
    *,
    in_order: bool = False,
) -> "Iterator[Exchange]":
    exchanges = reading.read(*logs, problems=problems, in_order=in_order)
    return each(progress, f"reading {', '.join(logs)}", exchanges, "exchanges")


def _store(store: "Store", exchanges: "Iterable[Exchange]", *, vouch: bool) -> "Iterator[int]":
    """Add exchanges to the store in batches; yield how many of each were new.

    Args:
        exchanges: The exchanges.
        vouch: Note also of those that are there already that they are in the order of arrival.
    """
    from openwheel.loop.registry import Registry

    registry = Registry(store)
    judged = max((registry.judged_until(record.task.id) for record in registry.tasks()), default=0)
    batches = iter(exchanges)
    while batch := list(islice(batches, IMPORT_BATCH)):
        yield store.append(batch)
        if vouch:
            store.vouch([exchange.id for exchange in batch], after=judged)


def _learned(findings: "Findings", problems: "LogProblems") -> dict[str, Any]:
    return {
        "exchanges": findings.exchanges,
        "unassigned": findings.unassigned,
        "formats": [{"name": name, "n": n} for name, n in problems.formats.items()],
        "bad_lines": problems.bad,
        "skipped": problems.skipped,
        "warnings": findings.warnings,
        "tasks": [_finding(finding) for finding in findings.tasks],
    }


def _finding(finding: "Finding") -> dict[str, Any]:
    return {
        "task": finding.name,
        "id": finding.task,
        "form": finding.form,
        "n": finding.n,
        "certified": finding.certified,
        "rung": finding.rung,
        "student": finding.student,
        "certificate": finding.certificate,
        "threshold": finding.threshold,
        "calibration": {
            "n": finding.n_calibration,
            "answered": finding.answered,
            "disagreements": finding.disagreements,
            "loss": finding.disagreements if finding.loss is None else finding.loss,
        },
        "loss": "fields" if finding.by_fields else "record",
        "coverage": finding.coverage,
        "bound": finding.bound,
        "epsilon": finding.epsilon,
        "delta": finding.delta,
        "delta_spent": finding.delta_spent,
        "attempt": finding.attempt,
        "reason": finding.reason,
        "more_needed": finding.more_needed,
        "frontier": [asdict(point) for point in finding.frontier],
        "template": finding.template,
        "variables": finding.variables,
        "warnings": finding.warnings,
    }


MOST_SHOWN = 100
"""Tasks that `learn` prints, the largest: whoever sends requests can make a thousand."""


def _print_findings(findings: "Findings", db: str, answer: str) -> None:
    shown = findings.tasks[:MOST_SHOWN]
    uncertified = [f for f in findings.tasks[MOST_SHOWN:] if not f.certified]
    shown += tuple(f for f in findings.tasks[MOST_SHOWN:] if f.certified)
    rows = [
        [
            f.name,
            f.form,
            f"{f.n:,}",
            f.rung or "-" if f.certified else "-",
            percent(f.coverage) if f.certified else "-",
            percent(f.bound, 2) if f.certified else "-",
        ]
        for f in shown
    ]
    print_table(["task", "form", "exchanges", "student", "coverage", "bound"], rows)
    if findings.unassigned:
        out.print(f"{findings.unassigned:,} exchanges belong to no task and stay with the teacher.")
    if uncertified:
        out.print(
            f"{len(uncertified):,} smaller tasks that stay with the teacher, with "
            f"{sum(f.n for f in uncertified):,} exchanges, are not shown; --json has all."
        )
    for finding in shown:
        more = f" About {finding.more_needed:,} more exchanges." if finding.more_needed else ""
        out.print(f"\n{finding.name}: {finding.reason}{more}")
        _print_frontier(finding)
    if any(finding.certified for finding in findings.tasks):
        first = next(f for f in findings.tasks if f.certified)
        assert first.certificate is not None
        place = shown_place(db)
        out.print(
            f"\nCheck a certificate: openwheel verify {first.certificate[:12]} --db {place}\n"
            f"Put the students in front of your traffic: openwheel up --teacher URL --db {place}"
            + (f" --answer {shlex.quote(answer)}" if answer else ""),
            markup=False,
        )


def _print_frontier(finding: "Finding") -> None:
    rows = [
        [
            f"{point.threshold:.3f}" + " chosen" * point.chosen,
            percent(point.coverage),
            percent(point.disagreement, 2),
            percent(point.unknown),
        ]
        for point in finding.frontier
    ]
    if rows:
        print_table(["threshold", "coverage", "disagreement", "unknown answered"], rows)


def _score_row(name: str, score: "Score") -> list[str]:
    low, high = score.interval
    interval = f"{low:.2%} to {high:.2%}" if score.answered else "-"
    return [
        name,
        f"{score.n:,}",
        percent(score.coverage),
        f"{score.disagreements:,}",
        percent(score.disagreement, 2)
        + (f" of {score.loss}" if score.answered and score.loss != "answers" else ""),
        interval,
        "-" if score.p50_ms is None else f"{score.p50_ms:.2f}",
    ]


SCORE_COLUMNS = ["task", "exchanges", "coverage", "disagreed", "share", "95% interval", "p50 ms"]


def _print_scores(evaluation: "Evaluation") -> None:
    rows = [_score_row(task.task, task.score) for task in evaluation.tasks]
    print_table(SCORE_COLUMNS, [*rows, _score_row("total", evaluation.total)])


def _replayed(replayed: "Replayed") -> dict[str, Any]:
    return {
        "total": asdict(replayed.total),
        "tasks": [{"task": t.task, **asdict(t.score)} for t in replayed.tasks],
        "teacher_calls": replayed.teacher_calls,
        "audits": replayed.audits,
        "turns": len(replayed.timeline),
        "timeline": [
            {
                **asdict(moment.score),
                "latest": asdict(moment.latest),
                "teacher_calls": moment.teacher_calls,
                "audits": moment.audits,
                "events": moment.events,
            }
            for moment in replayed.timeline
        ],
    }


def _print_replay(replayed: "Replayed") -> None:
    rows = []
    for moment in replayed.timeline:
        acts = [
            f"{event.task} {event.kind}"
            for event in moment.events
            if event.kind in {"promoted", "demoted", "shadowing"}
        ]
        rows.append(
            [
                f"{moment.score.n:,}",
                percent(moment.latest.coverage),
                percent(moment.latest.disagreement, 2),
                percent(moment.score.coverage),
                percent(moment.score.disagreement, 2),
                f"{moment.teacher_calls:,}",
                "; ".join(acts),
            ]
        )
    columns = ["exchanges", "coverage", "disagr.", "so far", "so far", "teacher calls", "turn"]
    print_table(columns, rows)
    out.print()
    scores = [_score_row(task.task, task.score)[:-1] for task in replayed.tasks]
    print_table(SCORE_COLUMNS[:-1], [*scores, _score_row("total", replayed.total)[:-1]])
