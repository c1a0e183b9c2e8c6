"""Defines options that several commands share. What one leaves open, ``openwheel.toml`` says."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

from openwheel.cli.output import warn
from openwheel.settings import Settings, override, read_settings, setting_rows

if TYPE_CHECKING:
    from openwheel.importing import LogProblems
    from openwheel.loop.drift.self_disagreement import ConnectAgain
    from openwheel.loop.judging import Connect
    from openwheel.loop.leases import Leases
    from openwheel.loop.settings import LoopSettings
    from openwheel.store import Exchange, Store
    from openwheel.trust import Policy

CONFIG = Path("openwheel.toml")
DEFAULT_DATABASE = "openwheel.db"
LEARNER_PATIENCE_S = 2.0
"""A gateway without turns holds the learner's lock for moments only."""


@cache
def _helps() -> Mapping[str, str]:
    return {row.name: row.help for row in setting_rows()}


def setting(name: str, *declarations: str, **more: Any) -> Any:
    """Return the option for a setting, with the help that the table of settings gives it."""
    return typer.Option(*declarations, help=_helps()[name], show_default=False, **more)


def settings_from(config: Path | None) -> Settings:
    """Return what a settings file says; by default ``openwheel.toml``, if there is one here.

    Raises:
        SettingError: The file was named and is not there, or cannot be used.
    """
    if config is not None:
        return read_settings(config)
    return read_settings(CONFIG) if CONFIG.exists() else Settings()


def _database(context: typer.Context, value: str) -> str:
    """Take the store that ``openwheel.toml`` names, unless the command line does."""
    source = context.get_parameter_source("db")
    if source is not None and source.name == "DEFAULT":
        return settings_from(None).store.path
    return value


Database = Annotated[
    str,
    typer.Option(
        "--db",
        callback=_database,
        metavar="FILE|URL",
        help="The store: a file, or postgresql://USER@HOST/DATABASE.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(help="The settings file. By default openwheel.toml, if there is one here."),
]
Logs = Annotated[
    list[str],
    typer.Argument(
        metavar="LOG...",
        help="JSON Lines, JSON, CSV or Parquet, plain or compressed; folders of them; - is stdin.",
    ),
]
Log = Annotated[
    str, typer.Argument(metavar="LOG", help="A log as learn takes it, or a folder of them.")
]
AnyTask = Annotated[
    str, typer.Argument(metavar="[TASK]", help="A task's name or id; by default all.")
]
Student = Annotated[
    str, typer.Argument(metavar="STUDENT", help="A student's id, or the start of it.")
]
CatalogFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="A catalogue file of your own, beside those in openwheel.toml; may be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Epsilon = Annotated[float | None, setting("loop.epsilon")]
Delta = Annotated[float | None, setting("loop.delta")]
Rungs = Annotated[
    str,
    typer.Option(
        help="Rungs that may be tried, cheapest first, with commas between: exact, linear, "
        "encoder. By default exact,linear, and encoder if --encoder is given."
    ),
]
Encoder = Annotated[str, setting("loop.encoder")]
TuneEncoder = Annotated[str, setting("loop.tune_encoder", metavar="auto|always|never")]
Audit = Annotated[float | None, setting("loop.audit")]
Answer = Annotated[
    str,
    typer.Option(
        help="How answers may differ and still be one, with commas between, as answer of [loop] "
        "has it: case,stop say."
    ),
]
InputKey = Annotated[str, typer.Option(help="Key of the input in plain input/output lines.")]
OutputKey = Annotated[str, typer.Option(help="Key of the answer in plain input/output lines.")]
TimeKey = Annotated[str, typer.Option(help="Key of the time, where it is none of the usual.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")]
InOrder = Annotated[
    bool,
    typer.Option(
        "--in-order",
        help="Declare that lines without a time are in the order in which the requests came.",
    ),
]
Shuffle = Annotated[
    int | None,
    typer.Option(
        help="Declare the rows exchangeable, and put them in the random order of this seed."
    ),
]


class LoopOptions(NamedTuple):
    """The options of the loop."""

    epsilon: Epsilon = None
    delta: Delta = None
    rungs: Rungs = ""
    encoder: Encoder = ""
    tune_encoder: TuneEncoder = ""
    audit: Audit = None
    answer: Answer = ""

    def changes(self) -> dict[str, Any]:
        """Return what they change in the settings, by name."""
        values = self._asdict() | {"rungs": _listed(self.rungs), "answer": _listed(self.answer)}
        return {
            f"loop.{name}": None if value in ("", ()) else value for name, value in values.items()
        }

    def settings(self) -> "LoopSettings":
        """Return the settings of the loop with these changes, checked.

        Raises:
            SettingError: One is not what it must be.
            PolicyError: Students may not be built on what they name.
        """
        from openwheel.loop.settings import LoopSettings

        settings = override(settings_from(None), self.changes())
        loop = LoopSettings.of(settings)
        check_bases(loop.policy, settings)
        return loop


class ReadingOptions(NamedTuple):
    """How lines of logs are read."""

    strict: Strict = False
    input_key: InputKey = ""
    output_key: OutputKey = ""
    time_key: TimeKey = ""

    def read(
        self, *logs: str, problems: "LogProblems", in_order: bool = False
    ) -> "Iterator[Exchange]":
        """Yield the exchanges of logs, as `read_log` does."""
        from openwheel.importing import read_log

        keys = {name: value or None for name, value in self._asdict().items() if name != "strict"}
        return read_log(*logs, strict=self.strict, in_order=in_order, problems=problems, **keys)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the fields of its groups of options as options of its own.

    A group is a parameter whose type is a named tuple of annotated options with defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if hasattr(kind, "_field_defaults")}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        fields = [parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])]
        if name in groups:
            options = get_type_hints(groups[name], include_extras=True)
            fields = [
                inspect.Parameter(
                    field, parameter.KEYWORD_ONLY, default=default, annotation=options[field]
                )
                for field, default in groups[name]._field_defaults.items()
            ]
        parameters += fields

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(*(values.pop(field) for field in group._fields))
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _listed(written: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in written.split(",") if part.strip())


def check_bases(policy: "Policy", settings: Settings) -> None:
    """Print what is to be known of an encoder or a base; raise `PolicyError` if it is forbidden."""
    for decision in policy.on_bases(settings):
        for warning in decision.require().warnings:
            warn(warning)


def connect_again() -> "ConnectAgain | None":
    """Return how the teachers of openwheel.toml are asked twice, None if it names none."""
    from openwheel.processes.teachers import connect_again as connector

    return connector(settings_from(None))


def connect() -> "Connect | None":
    """Return how a judge reaches the teachers of openwheel.toml, None if it names none."""
    from openwheel.processes.teachers import connect_teachers

    return connect_teachers(settings_from(None))


@contextlib.contextmanager
def learning(store: "Store") -> Iterator["Leases"]:
    """Be one of a store's learners until the block ends, and yield its leases.

    Raises:
        OtherLearnerError: Another process is, and there may be one at a time.
    """
    from openwheel.loop.leases import leases_of

    leases = leases_of(store, seconds=settings_from(None).loop.lease)
    with leases.learning(patience=LEARNER_PATIENCE_S):
        yield leases
