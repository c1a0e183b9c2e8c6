"""Lists checkpoints with sizes, licences and what they allow: ``openwheel models``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from openwheel.cli import models_fit, models_print, options
from openwheel.cli.output import note, print_json
from openwheel.errors import SettingError

if TYPE_CHECKING:
    from openwheel.catalog import Catalog, Checkpoint
    from openwheel.settings import Settings

Id = Annotated[
    str, typer.Argument(metavar="ID", help="A checkpoint's id on the hub, or its folder.")
]


app = typer.Typer(name="models")
app.command()(models_fit.fit)


@app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    family: Annotated[
        str, typer.Option(help="Only families whose name or model type has this in it.")
    ] = "",
    licence: Annotated[str, typer.Option(help="Only licences whose id has this in it.")] = "",
    organisation: Annotated[
        str, typer.Option(help="Only organisations whose name has this in it.")
    ] = "",
    country: Annotated[
        str, typer.Option(help="Only organisations at home in this country (ISO 3166: FR).")
    ] = "",
    max_parameters: Annotated[
        float | None, typer.Option(help="Only those of at most so many billion parameters.")
    ] = None,
    may_train_others: Annotated[
        bool,
        typer.Option(
            "--may-train-others",
            help="Only those whose answers may train other models, if on conditions.",
        ),
    ] = False,
    encoders: Annotated[
        bool, typer.Option("--encoders", help="Only encoders, which embed text.")
    ] = False,
    catalog: options.CatalogFiles = None,
    json: options.Json = False,
) -> None:
    """List open-weight checkpoints, the smallest first, with sizes, licences, what they allow.

    Billions: of parameters, in all and (where fewer) active for a token. Trains: whether its
    answers may train other models. After a licence: how surely it is that, from A to C, or ?.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if max_parameters is not None and not max_parameters > 0:
        raise SettingError(f"--max-parameters must be above 0, was {max_parameters:g}")
    rows = open_catalog(catalog)
    chosen = [
        row
        for row in rows.checkpoints
        if _within(family, row.family, row.model_type)
        and _within(licence, row.licence, *row.further_licences)
        and _within(organisation, row.organisation)
        and country.upper() in {"", row.country}
        and (
            max_parameters is None
            or (row.total_parameters is not None and row.total_parameters <= max_parameters)
        )
        and (not may_train_others or rows.may_train_others(row) in {"yes", "conditional"})
        and (not encoders or row.kind == "encoder")
    ]
    chosen.sort(key=lambda row: (row.total_parameters or float("inf"), row.id.lower()))
    if json:
        print_json({"checkpoints": [_told(rows, row) for row in chosen]})
        return
    models_print.print_list(rows, chosen)
    note(f"{len(chosen)} of {len(rows.checkpoints)} checkpoints; `openwheel models show ID`")


@app.command()
def show(id: Id, catalog: options.CatalogFiles = None, json: options.Json = False) -> None:
    """Show all that is known of a checkpoint, its licences with their clauses, and its family."""
    rows = open_catalog(catalog)
    path = Path(id).expanduser()
    if path.exists():
        _show_folder(path, rows, json)
        return
    row = rows.find(id)
    if json:
        print_json(_all(rows, row))
    else:
        models_print.print_checkpoint(rows, row)


def _show_folder(path: Path, rows: "Catalog", json: bool) -> None:
    """Show what lies in a folder or a GGUF file, and the checkpoints that it may be."""
    from openwheel.catalog.fit import of_folder
    from openwheel.trust import recognise

    weights, recognised = of_folder(path), recognise(path, rows)
    if json:
        print_json(
            {
                "folder": str(path),
                "weights": weights,
                "told_by": recognised.told_by,
                "licence": recognised.licence,
                "checkpoints": [_all(rows, row) for row in recognised.rows],
            }
        )
        return
    note(f"{path}: {weights.parameters / 1e9:.3g} billion weights in {weights.stored / 1e9:.3g} GB")
    if recognised.rows:
        ids = " or ".join(row.id for row in recognised.rows)
        note(f"By its {recognised.told_by} it is {ids}, or made of it")
        models_print.print_checkpoint(rows, recognised.rows[0])
    elif recognised.licence:
        note(f"Its files say that it is under {recognised.licence}")
    else:
        note(f"Its licence is not known{recognised.hint}; say it under [policy.models]")


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A checkpoint's id on the hub.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
    catalog: options.CatalogFiles = None,
    json: options.Json = False,
) -> None:
    """Show two checkpoints side by side; what differs is marked."""
    rows = open_catalog(catalog)
    pair = [rows.find(first), rows.find(second)]
    if json:
        print_json({"checkpoints": [_all(rows, row) for row in pair]})
    else:
        models_print.print_comparison(rows, pair)


def open_catalog(files: list[Path] | None) -> "Catalog":
    """Return the catalogue with the user's own files: those of the settings, then these."""
    from openwheel.catalog import load_catalog

    settings: Settings = options.settings_from(None)
    return load_catalog([*(Path(name) for name in settings.catalog.files), *(files or ())])


def _refuse_options(context: typer.Context) -> None:
    """Refuse options of the list before another command, which would not heed them."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = "--" + name.replace("_", "-")
            raise SettingError(
                f"{option} must come after `openwheel models {context.invoked_subcommand}`, "
                "if that has such an option; it came before"
            )


def _within(asked: str, *names: str) -> bool:
    return any(asked.lower() in name.lower() for name in names)


def _told(rows: "Catalog", row: "Checkpoint") -> dict[str, Any]:
    return {
        **msgspec.to_builtins(row),
        "may_train_others": rows.may_train_others(row),
    }


def _all(rows: "Catalog", row: "Checkpoint") -> dict[str, Any]:
    return {
        "checkpoint": _told(rows, row),
        "licences": rows.licences_of(row),
        "family": rows.family(row.model_type),
    }
