"""Shows what would be read of logs, and writes the store's traffic out again."""

import csv
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import msgspec
import typer
from typer.core import TyperGroup

from openwheel.cli import options
from openwheel.cli.output import note, out, print_json, print_problems, print_table, warn
from openwheel.errors import SettingError
from openwheel.logs import escaped

if TYPE_CHECKING:
    from openwheel.importing import LogProblems
    from openwheel.loop.offline.datasets import Example
    from openwheel.store import Exchange

SAMPLE = 5_000
"""Exchanges that tasks in sight are looked for in, drawn at random."""

LONGEST = 300
"""Characters of a text of the first exchange that are shown."""

FORMS = ("openwheel", "fine-tuning", "csv", "parquet")


class _Group(TyperGroup):
    """Takes what is no command of the group for the logs to show."""

    # Typer has a copy of Click of its own, whose types are no published interface.
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="logs",
    cls=_Group,
    help="Show what would be read of logs (openwheel logs LOG...), or write traffic out.",
    no_args_is_help=True,
)


@app.command()
@options.grouped
def show(
    logs: options.Logs,
    json: options.Json = False,
    *,
    reading: options.ReadingOptions,
) -> None:
    """Show what would be read of logs: formats, the first exchange, tasks, what is left out.

    Nothing is stored.
    """
    from openwheel.importing import LogProblems

    problems = LogProblems()
    first: Exchange | None = None
    sample: list[Exchange] = []
    rng = random.Random(0)
    for n, exchange in enumerate(reading.read(*logs, problems=problems)):
        first = first or exchange
        if len(sample) < SAMPLE:
            sample.append(exchange)
        elif (place := rng.randrange(n + 1)) < SAMPLE:
            sample[place] = exchange
    tasks = _tasks_in_sight(sample)
    advice = _advice(problems)
    if json:
        print_json(_shown(problems, first, tasks, advice))
        return
    rows = [[name, f"{n:,}"] for name, n in problems.formats.items()]
    print_table(["format", "exchanges"], rows)
    if first is not None:
        out.print("\nThe first exchange:")
        for name, value in _first(first).items():
            out.print(f"  {name}: {_shortened(value)}", markup=False)
    if tasks:
        share = "" if problems.usable <= SAMPLE else f" (in {SAMPLE:,} of the exchanges)"
        out.print(f"\nTasks in sight{share}:")
        print_table(
            ["task", "form", "exchanges"], [[t["task"], t["form"], f"{t['n']:,}"] for t in tasks]
        )
    out.print()
    print_problems(problems)
    for sentence in advice:
        warn(sentence)


@app.command()
def export(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; - is stdout.")],
    task: Annotated[str, typer.Option(help="Only this task, by its name or id.")] = "",
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="|".join(FORMS),
            help="Exchanges as they are, which learn reads back the same; or a task's answers as "
            "chats to fine-tune on, or as a table.",
        ),
    ] = FORMS[0],
    validation: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.9, help="The share for validation, a task's latest; not for openwheel."
        ),
    ] = 0.1,
    config: options.Config = None,
    db: options.Database = options.DEFAULT_DATABASE,
) -> None:
    """Write the store's traffic, or one task's answers as a data set, to a file.

    Fine-tuning files come in two: FILE for training, and FILE with .validation before its suffix.
    """
    from openwheel.loop.offline.datasets import examples
    from openwheel.loop.registry import Registry
    from openwheel.store import Store
    from openwheel.trust import Policy

    if form not in FORMS:
        raise SettingError(f"--as must be one of {', '.join(FORMS)}, was {form!r}")
    if form != FORMS[0] and not task:
        raise SettingError(f"--as {form} writes one task: name it with --task")
    with Store.open(db, create=False) as store:
        record = Registry(store).find_task(task) if task else None
        if form == FORMS[0]:
            task_id = None if record is None else record.task.id
            written = _write_exchanges(to, (e for _, e in store.exchanges(task_id=task_id)))
        else:
            assert record is not None
            policy = Policy.of(options.settings_from(config))
            pairs = examples(store, record, policy=policy, validation=validation)
            if form == "fine-tuning":
                written = _write_fine_tuning(to, pairs)
            elif form == "csv":
                written = _write_csv(to, pairs)
            else:
                written = _write_parquet(to, pairs)
    note(f"{written:,} exchanges written to {to}")


def _tasks_in_sight(sample: "list[Exchange]") -> list[dict[str, Any]]:
    from openwheel.loop.turn.curate import examples_of
    from openwheel.tasks import TaskMatcher, find_tasks, infer_form

    seen = list(examples_of(sample))
    matcher = TaskMatcher(tasks := find_tasks(seen))
    answers: dict[str, list[Any]] = {task.id: [] for task in tasks}
    for prompt, answer, named in seen:
        match = matcher.match(prompt, named)
        if match is not None:
            answers[match[0].id].append(answer)
    return [
        {"task": task.name, "form": infer_form(answers[task.id]).form, "n": len(answers[task.id])}
        for task in tasks
    ]


def _advice(problems: "LogProblems") -> list[str]:
    advice = []
    if problems.time_keys:
        advice.append(
            f"{' and '.join(problems.time_keys)} look like times: if one is when the request "
            "came, name it with --time-key"
        )
    if problems.usable and problems.times_missing == problems.usable:
        advice.append(
            "no exchange has a time: learn certifies nothing on it unless you say that the lines "
            "are in the order of arrival (--in-order) or exchangeable (--shuffle SEED)"
        )
    elif problems.times_missing:
        advice.append(f"{problems.times_missing:,} exchanges have no time; they train, no more")
    return advice


def _shown(
    problems: "LogProblems",
    first: "Exchange | None",
    tasks: list[dict[str, Any]],
    advice: list[str],
) -> dict[str, Any]:
    return {
        "formats": [{"name": name, "n": n} for name, n in problems.formats.items()],
        "exchanges": problems.usable,
        "lines": problems.lines,
        "skipped": [{"reason": reason, "n": n} for reason, n in problems.skipped.items()],
        "bad": problems.bad,
        "first_bad": [str(bad) for bad in problems.first_bad],
        "times_missing": problems.times_missing,
        "times_unread": problems.times_unread,
        "reordered": problems.reordered,
        "wrapped": problems.wrapped,
        "first": None if first is None else _first(first),
        "tasks": tasks,
        "advice": advice,
    }


def _first(exchange: "Exchange") -> dict[str, Any]:
    """Return an exchange as it was understood."""
    request = exchange.read()
    system = [m.text for m in request.prompt.messages if m.role in {"system", "developer"}]
    texts = [m.text for m in request.prompt.messages if m.role not in {"system", "developer"}]
    calls = msgspec.to_builtins(exchange.answer.tool_calls)
    return {
        "api": exchange.api,
        "model": request.model or exchange.model,
        "settings": dict(request.settings) if request.settings is not None else None,
        "system": "\n".join(system),
        "input": texts[-1] if texts else "",
        "messages": len(request.prompt.messages),
        "answer": exchange.answer.text,
        **({"tool_calls": calls} if calls else {}),
        "finish_reason": exchange.answer.finish_reason,
        "time": exchange.time or None,
        "task": exchange.task,
    }


def _shortened(value: object) -> str:
    text = escaped(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` once it is whole."""
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _write_exchanges(path: Path, exchanges: "Iterator[Exchange]") -> int:
    from openwheel.importing import line_of

    written = 0
    with _new_file(path) as file:
        for exchange in exchanges:
            file.write(line_of(exchange) + b"\n")
            written += 1
    return written


def _write_fine_tuning(path: Path, examples: "Iterator[Example]") -> int:
    if str(path) == "-":
        raise SettingError("--as fine-tuning writes two files: name the first")
    written = 0
    beside = path.with_name(f"{path.stem}.validation{path.suffix}")
    with _new_file(path) as training, _new_file(beside) as validating:
        for example in examples:
            file = training if example.split == "train" else validating
            file.write(msgspec.json.encode(example.fine_tuning()) + b"\n")
            written += 1
    return written


def _write_csv(path: Path, examples: "Iterator[Example]") -> int:
    import io

    written = 0
    with _new_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = None
        for example in examples:
            row = example.row()
            if writer is None:
                writer = csv.DictWriter(text, list(row))
                writer.writeheader()
            writer.writerow(row)
            written += 1
        text.flush()
        text.detach()
    return written


def _write_parquet(path: Path, examples: "Iterator[Example]") -> int:
    import importlib.util
    from itertools import islice

    if importlib.util.find_spec("pyarrow") is None:
        raise SettingError("--as parquet needs pyarrow: pip install 'openwheel[parquet]'")
    import pyarrow as pa
    from pyarrow import parquet

    text, schema, written = pa.string(), None, 0
    with _new_file(path) as file:
        writer = None
        while rows := [example.row() for example in islice(examples, 1_000)]:
            if schema is None:
                kinds = {"time": pa.float64(), "corrected": pa.bool_()}
                schema = pa.schema([(name, kinds.get(name, text)) for name in rows[0]])
                writer = parquet.ParquetWriter(file, schema, compression="zstd")
            assert writer is not None
            writer.write_table(pa.Table.from_pylist(rows, schema))
            written += len(rows)
        if writer is not None:
            writer.close()
    return written
