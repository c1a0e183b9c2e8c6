"""``openwheel audits``: what audits show of the students that answer, and what came of it."""

import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import out, percent, print_json, print_table

if TYPE_CHECKING:
    from openwheel.loop.audit.status import AlarmStatus, SignalStatus, TaskAudit
    from openwheel.loop.drift.status import ChangeStatus, TeacherStatus


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(audits)


def audits(
    task: Annotated[
        str, typer.Argument(metavar="[TASK]", help="A task's name or id; by default all.")
    ] = "",
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Show how the audit of each task stands: live disagreement, evidence, shares, cost, alarms.

    For one task also its slices, and its teacher: how far that agrees with itself, and when it
    changed.
    """
    from openwheel.loop.audit.status import audit_status
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        wanted = Registry(store).find_task(task).task.id if task else ""
        found = [one for one in audit_status(store) if wanted in {"", one.id}]
    if json:
        print_json({"audits": found})
        return
    columns = ["task", "student", "coverage", "audited", "disagreed", "live rate (95%)", "e-value"]
    print_table([*columns, "share", "canary", "cost"], [_row(one) for one in found])
    if task:
        for one in found:
            _details(one)


def _row(one: "TaskAudit") -> list[str]:
    if one.student is None:
        return [one.task, "teacher", *["-"] * 7, f"${one.cost:,.2f}"]
    low, high = one.interval
    return [
        one.task,
        one.student + (" (against evidence)" if one.against_evidence else ""),
        percent(one.coverage) + (f" + {one.best_effort:,} best effort" if one.best_effort else ""),
        f"{one.audits:,}",
        f"{one.loss:g}",
        f"{percent(one.rate, 2)} [{low:.2%}, {high:.2%}] of {percent(one.epsilon, 2)}",
        f"{one.e_value or 0:.3g} of {one.e_value_limit or 0:.3g}",
        percent(one.audit),
        percent(one.canary, 0),
        f"${one.cost:,.2f}",
    ]


def _details(one: "TaskAudit") -> None:
    if one.plan:
        out.print(f"Shares: {one.plan}.")
    if one.best_effort:
        out.print(
            f"Best effort: {one.best_effort:,} answers below the threshold, since no teacher could "
            "be reached; they are no coverage.",
            markup=False,
        )
    if one.slices:
        rows = [
            [
                part.slice,
                "teacher" if part.off else "student",
                f"{part.audits:,}",
                f"{part.loss:g}",
                f"{part.e_value:.3g}",
            ]
            for part in one.slices
        ]
        print_table(["slice", "answered by", "audited", "disagreed", "e-value"], rows)
    if one.signals:
        columns = [
            "asks for more audits",
            "now",
            "raised",
            "seen",
            "rate",
            "usual up to",
            "e-value",
        ]
        print_table(columns, [_signal(signal) for signal in one.signals])
    for alarm in one.alarms:
        out.print(f"{when(alarm)} {alarm.student}: {alarm.reason}")
        if alarm.disagreed:
            out.print(f"  the latest: {', '.join(alarm.disagreed[-3:])}")
    _teacher(one.teacher)


def _signal(signal: "SignalStatus") -> list[str]:
    return [
        signal.said,
        f"until {signal.until:,} audits" if signal.up else "no",
        f"{signal.raised:,}",
        f"{signal.seen:,}",
        percent(signal.rate),
        percent(signal.usual),
        f"{signal.e_value:.3g} of {signal.e_value_limit:.3g}",
    ]


def _teacher(teacher: "TeacherStatus") -> None:
    if teacher.asked_twice:
        low, high = teacher.interval
        usual = ""
        if teacher.usual is not None:
            usual = f"; {teacher.usual[0]:.2%} to {teacher.usual[1]:.2%} is usual"
        out.print(
            f"The teacher, asked again {teacher.asked_twice:,} times, disagreed with itself on "
            f"{teacher.loss:g}: {percent(teacher.rate, 2)} [{low:.2%}, {high:.2%}]{usual}.",
            markup=False,
        )
    if teacher.failed:
        out.print(f"It could not be asked again {teacher.failed:,} times.")
    for change in teacher.changes:
        out.print(f"{when(change)} {change.student or 'told'}: {change.reason}")


def when(event: "AlarmStatus | ChangeStatus") -> str:
    """Say when an alarm was raised, or a change noticed."""
    time = datetime.datetime.fromtimestamp(event.time, datetime.UTC)
    return time.isoformat(timespec="seconds")
