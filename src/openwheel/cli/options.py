"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openwheel.loop.settings import LoopSettings

Database = Annotated[
    Path, typer.Option("--db", help="The store: one SQLite file; students go beside it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Epsilon = Annotated[
    float, typer.Option(help="The most disagreement allowed among answered requests.")
]
Delta = Annotated[float, typer.Option(help="The probability allowed for that promise to be wrong.")]
Rungs = Annotated[
    str,
    typer.Option(
        help="Rungs that may be tried, cheapest first, with commas between: exact, linear, "
        "encoder. By default exact,linear, and encoder if --encoder is given."
    ),
]
Encoder = Annotated[
    str, typer.Option(help="A sentence encoder: a hub id or a folder (extra `encoder`).")
]
Audit = Annotated[
    float, typer.Option(help="Share of a promoted task's requests that the teacher answers too.")
]
InputKey = Annotated[str, typer.Option(help="Key of the input in plain input/output lines.")]
OutputKey = Annotated[str, typer.Option(help="Key of the answer in plain input/output lines.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad line.")]
Shuffle = Annotated[
    int | None,
    typer.Option(
        help="Declare the rows exchangeable, and put them in the random order of this seed."
    ),
]

DEFAULT_DATABASE = Path("openwheel.db")


def loop_settings(
    *, epsilon: float, delta: float, rungs: str, encoder: str, audit: float
) -> "LoopSettings":
    """Return the settings of the loop, checked.

    Raises:
        SettingError: One is not what it must be.
    """
    from openwheel.loop.settings import LoopSettings

    chosen = rungs or ("exact,linear,encoder" if encoder else "exact,linear")
    return LoopSettings(
        epsilon=epsilon,
        delta=delta,
        rungs=tuple(rung.strip() for rung in chosen.split(",") if rung.strip()),
        encoder=encoder,
        audit=audit,
    ).checked()
