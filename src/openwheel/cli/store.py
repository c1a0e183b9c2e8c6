"""The commands on a store as a whole: what is in it, and copies of it."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import out, print_json, warn
from openwheel.cli.progress import shown, stopping
from openwheel.settings.place import shown_place

app = typer.Typer(
    name="store", help="Look at a store as a whole, or copy it.", no_args_is_help=True
)


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store to copy.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Where to: new, empty, or a copy.")],
    check: Annotated[
        bool, typer.Option("--check", help="Copy nothing; only compare the two.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Copy a store from a file to Postgres, back, or to another of its kind.

    All numbers and the order of rows stay. The files of students go along. The two are compared at
    the end. A copy that was stopped goes on with the same command, and one that ended catches up,
    as long as nothing was written to it.
    """
    from openwheel.errors import SettingError
    from openwheel.loop.registry import Registry, copy_students
    from openwheel.store import Store
    from openwheel.store.copy import compare, copy_store

    files = [Path(place) for place in (source, target)]
    if source == target or (all(map(Path.exists, files)) and Path.samefile(*files)):
        raise SettingError(f"FROM and TO must be two stores, both were {shown_place(source)}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            stopping(lambda: f"{shown_place(source)} is as it was. The same command goes on.")
        )
        progress = stack.enter_context(shown())
        before = stack.enter_context(Store.open(source, create=False))
        objects = options.settings_from(None).store.objects
        after = stack.enter_context(Store.open(target, create=not check, objects=objects))
        stack.enter_context(options.learning(before))
        if check:
            count = compare(before, after, progress=progress)
            if json:
                print_json({"exchanges": count, "same": True})
            else:
                out.print(f"Both hold the same: {count:,} exchanges, and all that was learned")
            return
        stack.enter_context(options.learning(after))
        # First: a promoted student must never be without its files.
        students = copy_students(Registry(before), Registry(after))
        copied = copy_store(before, after, progress=progress)
    if json:
        print_json({"students": students, "copied": copied})
        return
    out.print(
        f"{after} is a copy up to the exchange with seq {copied.until:,}: {copied.exchanges:,} "
        f"exchanges, {copied.added:,} of them new, and the files of {students:,} students. Both "
        "were compared."
    )
    if copied.later or copied.changed:
        tables = f", and its tables {', '.join(copied.changed)} changed" if copied.changed else ""
        warn(
            f"Meanwhile {copied.later:,} exchanges came to {before}{tables}. That is not in the "
            "copy: stop what writes to it, and run the same command again."
        )


@app.command()
def show(db: options.Database = options.DEFAULT_DATABASE, json: options.Json = False) -> None:
    """Show where a store is, what it holds and what it takes."""
    from openwheel.loop.registry import Registry
    from openwheel.store import Store, leases
    from openwheel.store.retention import days, used_bytes

    with Store.open(db, create=False, read_only=True) as store:
        registry = Registry(store)
        with store.read() as transaction:
            held = {row.name: row.holder for row in leases.read(transaction).values() if row.holder}
        apart = days(store)
        found = {
            "store": str(store),
            "schema": store.schema,
            "exchanges": store.count(),
            "newest": store.last_seq(),
            "bytes": used_bytes(store),
            "days": len(apart),
            "oldest_day": apart[0] if apart else "",
            "tasks": len(registry.tasks()),
            "students": len(registry.candidates()),
            "leases": held,
        }
    if json:
        print_json(found)
        return
    found["leases"] = ", ".join(f"{name} ({holder})" for name, holder in held.items()) or "none"
    for name, value in found.items():
        if value != "":
            out.print(f"{name:11}{value:,}" if isinstance(value, int) else f"{name:11}{value}")
