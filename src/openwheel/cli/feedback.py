"""Shows clients' feedback and what it says of accuracy: ``openwheel feedback``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from openwheel.cli import options
from openwheel.cli.output import iso, note, out, percent, print_json, print_table

if TYPE_CHECKING:
    from openwheel.loop.feedback.accuracy import Rate, TaskAccuracy
    from openwheel.store.feedback import KeptFeedback


def feedback(
    task: options.AnyTask = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to show.")] = 20,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Show the latest feedback, and the accuracy of teacher and student against corrections."""
    from openwheel.loop.feedback.accuracy import CONDITION, accuracy
    from openwheel.loop.registry import Registry
    from openwheel.store import Store
    from openwheel.store.feedback import FeedbackStore

    with Store.open(db, create=False) as store:
        task_id = Registry(store).find_task(task).task.id if task else None
        latest = FeedbackStore(store).latest(task_id=task_id, limit=limit)
        accuracies = accuracy(store, task_id or "")
    if json:
        messages = [_facts(message) for message in latest]
        print_json(
            {
                "feedback": messages,
                "tasks": [_task(task_accuracy) for task_accuracy in accuracies],
                "note": CONDITION,
            }
        )
        return
    columns = ["when", "exchange", "key", "score", "label", "correction", "comment"]
    rows = [[_cell(value) for value in _facts(message).values()] for message in latest]
    print_table(columns, rows)
    for task_accuracy in accuracies:
        counts = _task(task_accuracy)["corrections"]
        words = ", ".join(f"{number} {name}" for name, number in counts.items())
        out.print(f"{task_accuracy.task}: corrections: {words}")
        rows = [
            [name, *[_shown(rate) for rate in rates]]
            for name, rates in (
                ("teacher", (task_accuracy.teacher, task_accuracy.both_teacher)),
                ("student", (task_accuracy.student, task_accuracy.both_student)),
            )
        ]
        print_table(["accuracy (95%)", "where it answered", "where both did"], rows)
    if accuracies:
        note(CONDITION)


def _facts(message: "KeptFeedback") -> dict[str, Any]:
    return {
        "time": iso(message.time),
        "seq": message.seq,
        "key": message.key or None,
        "score": message.score,
        "label": message.label or None,
        "correction": message.correction,
        "comment": message.comment or None,
    }


def _cell(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _task(task_accuracy: "TaskAccuracy") -> dict[str, Any]:
    sorted_ = task_accuracy.corrections
    return {
        "task": task_accuracy.task,
        "corrections": {
            "believed": len(sorted_.believed),
            "unconfirmed": sorted_.unconfirmed,
            "contradicted": sorted_.contradicted,
            "unusable": sorted_.unusable,
            "beyond their key's share": sorted_.beyond,
        },
        "teacher": _rate(task_accuracy.teacher),
        "student": _rate(task_accuracy.student),
        "both_teacher": _rate(task_accuracy.both_teacher),
        "both_student": _rate(task_accuracy.both_student),
    }


def _rate(rate: "Rate") -> dict[str, Any]:
    return {"n": rate.n, "right": rate.right, "interval": rate.interval}


def _shown(rate: "Rate") -> str:
    if not rate.n:
        return "-"
    low, high = rate.interval
    share = percent(rate.right / rate.n)
    return f"{rate.right:,} of {rate.n:,}: {share} [{low:.1%}, {high:.1%}]"
