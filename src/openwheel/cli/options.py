"""Options that several commands share. What an option leaves open, ``openwheel.toml`` says."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openwheel.cli.output import warn
from openwheel.settings import Settings, override, read_settings, setting_rows

if TYPE_CHECKING:
    from openwheel.loop.drift.self_disagreement import ConnectAgain
    from openwheel.loop.judging import Connect
    from openwheel.loop.settings import LoopSettings
    from openwheel.trust import Policy

CONFIG = Path("openwheel.toml")
DEFAULT_DATABASE = Path("openwheel.db")
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


def _database(context: typer.Context, value: Path) -> Path:
    """Take the store that ``openwheel.toml`` names, unless the command line does."""
    source = context.get_parameter_source("db")
    if source is not None and source.name == "DEFAULT":
        return Path(settings_from(None).store.path)
    return value


Database = Annotated[
    Path,
    typer.Option("--db", callback=_database, help="The store: one file; students go beside it."),
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


def loop_changes(
    *,
    epsilon: float | None,
    delta: float | None,
    rungs: str,
    encoder: str,
    audit: float | None,
    answer: str,
    tune_encoder: str = "",
) -> dict[str, Any]:
    """Return what the options of the loop change in the settings, by name."""
    chosen, folds = _listed(rungs), _listed(answer)
    return {
        "loop.epsilon": epsilon,
        "loop.delta": delta,
        "loop.rungs": chosen or None,
        "loop.encoder": encoder or None,
        "loop.tune_encoder": tune_encoder or None,
        "loop.audit": audit,
        "loop.answer": folds or None,
    }


def _listed(written: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in written.split(",") if part.strip())


def loop_settings(
    *,
    epsilon: float | None,
    delta: float | None,
    rungs: str,
    encoder: str,
    audit: float | None,
    answer: str,
    tune_encoder: str = "",
) -> "LoopSettings":
    """Return the settings of the loop, checked.

    Raises:
        SettingError: One is not what it must be.
        PolicyError: Students may not be built on what they name.
    """
    from openwheel.loop.settings import LoopSettings

    changes = loop_changes(
        epsilon=epsilon,
        delta=delta,
        rungs=rungs,
        encoder=encoder,
        tune_encoder=tune_encoder,
        audit=audit,
        answer=answer,
    )
    settings = override(settings_from(None), changes)
    loop = LoopSettings.of(settings)
    check_bases(loop.policy, settings)
    return loop


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
