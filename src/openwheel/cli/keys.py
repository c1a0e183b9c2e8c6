"""Makes, lists, trusts and revokes the gateway's own keys."""

import datetime
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openwheel.cli import options
from openwheel.cli.output import iso, note, out, print_json, print_table
from openwheel.errors import SettingError

if TYPE_CHECKING:
    from openwheel.access import ConsoleRight, Key, KeyStore, Spending, Trust

_DAY = 86_400.0
_Name = Annotated[str, typer.Argument(metavar="NAME", help="A key's name, or its id.")]


app = typer.Typer(
    name="keys",
    help="Make, list, trust and revoke the gateway's own keys.",
    no_args_is_help=True,
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, or what for.")],
    task: Annotated[
        list[str] | None,
        typer.Option(help="Allow only requests of tasks like this (ticket-*); may be repeated."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Allow only models like this (qwen*); may be repeated."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="Tokens a minute, of prompts and answers.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Dollars for each period.")] = None,
    budget_period: Annotated[
        str, typer.Option(metavar="day|month", help="What the budget is for, in UTC.")
    ] = "month",
    trust: Annotated[
        str,
        typer.Option(metavar="low|normal|high", help="How far its holder's feedback is believed."),
    ] = "low",
    console: Annotated[
        str,
        typer.Option(
            metavar="none|read|operate", help="Whether it opens the console, and may act there."
        ),
    ] = "none",
    edge: Annotated[
        bool,
        typer.Option("--edge", help="For an edge: it sends exchanges, and gets bundles and news."),
    ] = False,
    expires: Annotated[
        str, typer.Option(help="Its last day in UTC (2027-01-31), or how many days (30d).")
    ] = "",
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Make a key and print it, once: the store keeps only its hash.

    From the first key on the gateway refuses requests without one.
    """
    from openwheel.access import KeyStore, Spending
    from openwheel.store import Store

    level, right = _trust(trust, "--trust"), _console(console, "--console")
    if budget_period not in {"day", "month"}:
        raise SettingError(f"--budget-period must be day or month, was {budget_period!r}")
    until = _until(expires, time.time()) if expires else None
    with Store.open(db) as store:
        key, secret = KeyStore(store).create(
            name,
            tasks=task or (),
            models=model or (),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            budget=budget,
            budget_period="day" if budget_period == "day" else "month",
            expires=until,
            trust=level,
            console=right,
            edge=edge,
        )
    if json:
        print_json({"secret": secret, **_shown(key, Spending())})
        return
    note(f"The key of {key.name}. It cannot be shown again:")
    out.print(secret)


@app.command("list")
def list_keys(db: options.Database = options.DEFAULT_DATABASE, json: options.Json = False) -> None:
    """List every key that was ever made, with what it spent in the current period."""
    from openwheel.access import KeyStore, Ledger
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        ledger = Ledger(store)
        ledger.flush()
        listed = [_shown(key, ledger.spent(key)) for key in KeyStore(store).list()]
    if json:
        print_json({"keys": listed})
        return
    rows = [
        [
            key["name"],
            str(key["id"]),
            f"...{key['hint']}",
            key["state"],
            key["expires"] or "-",
            key["trust"],
            key["console"],
            "yes" if key["edge"] else "-",
            _words(key["tasks"]),
            _words(key["models"]),
            _number(key["requests_per_minute"]),
            _number(key["tokens_per_minute"]),
            _spent(key),
        ]
        for key in listed
    ]
    columns = [
        "key",
        "id",
        "ends in",
        "state",
        "expires",
        "trust",
        "console",
        "edge",
        "tasks",
        "models",
    ]
    print_table([*columns, "requests/min", "tokens/min", "spent"], rows)


@app.command()
def revoke(
    name: _Name,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Revoke a key for good; running gateways refuse it within about a second."""
    _change(db, lambda keys: keys.revoke(name), "is revoked", json=json)


@app.command("trust")
def set_trust(
    name: _Name,
    trust: Annotated[str, typer.Argument(metavar="low|normal|high", help="How far.")],
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Set how far a key's feedback is believed, what it has said before included.

    Corrections of a key of low trust train nothing until others confirm them.
    """
    level = _trust(trust, "the trust")
    _change(db, lambda keys: keys.set_trust(name, level), f"has {level} trust", json=json)


@app.command("console")
def set_console(
    name: _Name,
    console: Annotated[
        str, typer.Argument(metavar="none|read|operate", help="What its holder may do there.")
    ],
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Set whether a key opens the console, and whether its holder may act there."""
    right = _console(console, "the right")
    done = f"has the right {right!r} to the console"
    _change(db, lambda keys: keys.set_console(name, right), done, json=json)


def _change(db: str, change: "Callable[[KeyStore], Key]", done: str, *, json: bool) -> None:
    from openwheel.access import KeyStore, Ledger
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        key = change(KeyStore(store))
        ledger = Ledger(store)
        ledger.flush()
        shown = _shown(key, ledger.spent(key))
    if json:
        print_json(shown)
    else:
        out.print(f"{key.name} (id {key.id}) {done}.")


def _console(text: str, source: str) -> "ConsoleRight":
    from openwheel.access import CONSOLE_RIGHTS

    for right in CONSOLE_RIGHTS:
        if text == right:
            return right
    raise SettingError(f"{source} must be none, read or operate, was {text!r}")


def _trust(text: str, source: str) -> "Trust":
    from openwheel.access import TRUSTS

    for trust in TRUSTS:
        if text == trust:
            return trust
    raise SettingError(f"{source} must be low, normal or high, was {text!r}")


def _until(text: str, now: float) -> float:
    """Return until when a key is valid that expires as ``text`` says."""
    if days := re.fullmatch(r"([1-9][0-9]{0,5})d", text, re.ASCII):
        return now + int(days[1]) * _DAY
    try:
        last = datetime.date.fromisoformat(text)
    except ValueError:
        raise SettingError(
            f"--expires must be a day (2027-01-31) or a number of days (30d), was {text!r}"
        ) from None
    start = datetime.datetime.combine(last, datetime.time(), datetime.UTC)
    if start.timestamp() + _DAY <= now:
        raise SettingError(f"--expires must be today or later, was {text}")
    return start.timestamp() + _DAY


def _shown(key: "Key", spent: "Spending") -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "state": key.state(time.time()),
        "created": iso(key.created),
        "expires": None if key.expires is None else iso(key.expires),
        "revoked": None if key.revoked is None else iso(key.revoked),
        "trust": key.trust,
        "console": key.console,
        "edge": key.edge,
        "tasks": key.tasks,
        "models": key.models,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_minute": key.tokens_per_minute,
        "budget": key.budget,
        "budget_period": key.budget_period,
        "spent": spent.micro_dollars / 1_000_000,
        "tokens": spent.tokens,
    }


def _words(patterns: tuple[str, ...]) -> str:
    return ", ".join(patterns) or "all"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _spent(key: dict[str, Any]) -> str:
    from openwheel.access import dollars

    of = f" of {dollars(key['budget'])}" if key["budget"] is not None else ""
    return f"{dollars(key['spent'])}{of} this {key['budget_period']}"
