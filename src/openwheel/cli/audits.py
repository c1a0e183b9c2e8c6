"""Shows what audits found of the students that answer: ``openwheel audits``."""

from typing import TYPE_CHECKING

from openwheel.cli import options
from openwheel.cli.output import iso, out, percent, print_json, print_table

if TYPE_CHECKING:
    from openwheel.loop.audit.status import SignalStatus, TaskAudit
    from openwheel.loop.drift.status import TeacherStatus


def audits(
    task: options.AnyTask = "",
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
        task_id = Registry(store).find_task(task).task.id if task else ""
        statuses = [status for status in audit_status(store) if task_id in {"", status.id}]
    if json:
        print_json({"audits": statuses})
        return
    columns = ["task", "student", "coverage", "audited", "disagreed", "live rate (95%)", "e-value"]
    print_table([*columns, "share", "canary", "cost"], [_row(status) for status in statuses])
    if task:
        for status in statuses:
            _details(status)


def _row(status: "TaskAudit") -> list[str]:
    if status.student is None:
        return [status.task, "teacher", *["-"] * 7, f"${status.cost:,.2f}"]
    low, high = status.interval
    of_fields = " of fields" * (status.by_fields and status.rate is not None)
    rate = percent(status.rate, 2) + of_fields
    return [
        status.task,
        status.student + (" (against evidence)" if status.against_evidence else ""),
        percent(status.coverage)
        + (f" + {status.best_effort:,} best effort" if status.best_effort else ""),
        f"{status.audits:,}",
        f"{status.loss:.4g}",
        f"{rate} [{low:.2%}, {high:.2%}] of {percent(status.epsilon, 2)}",
        f"{status.e_value or 0:.3g} of {status.e_value_limit or 0:.3g}",
        percent(status.audit),
        percent(status.canary, 0),
        f"${status.cost:,.2f}",
    ]


def _details(status: "TaskAudit") -> None:
    if status.plan:
        out.print(f"Shares: {status.plan}.")
    if status.best_effort:
        out.print(
            f"Best effort: {status.best_effort:,} answers below the threshold, since no teacher "
            "could be reached; they are no coverage.",
            markup=False,
        )
    if status.slices:
        rows = [
            [
                part.slice,
                "teacher" if part.off else "student",
                f"{part.audits:,}",
                f"{part.loss:.4g}",
                f"{part.e_value:.3g}",
            ]
            for part in status.slices
        ]
        print_table(["slice", "answered by", "audited", "disagreed", "e-value"], rows)
    if status.signals:
        columns = [
            "asks for more audits",
            "now",
            "raised",
            "seen",
            "rate",
            "usual up to",
            "e-value",
        ]
        print_table(columns, [_signal(signal) for signal in status.signals])
    for alarm in status.alarms:
        out.print(f"{iso(alarm.time)} {alarm.student}: {alarm.reason}")
        if alarm.disagreed:
            out.print(f"  the latest: {', '.join(alarm.disagreed[-3:])}")
    _teacher(status.teacher)


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
            f"{teacher.loss:.4g}: {percent(teacher.rate, 2)} [{low:.2%}, {high:.2%}]{usual}.",
            markup=False,
        )
    if teacher.failed:
        out.print(f"It could not be asked again {teacher.failed:,} times.")
    for change in teacher.changes:
        out.print(f"{iso(change.time)} {change.student or 'told'}: {change.reason}")
