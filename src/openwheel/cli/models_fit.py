"""``openwheel models fit``: what this machine can run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from openwheel.cli import options
from openwheel.cli.output import note, out, print_json, print_table
from openwheel.errors import CatalogError, SettingError

if TYPE_CHECKING:
    from openwheel.catalog.fit import Device, Verdict, Wish
    from openwheel.catalog.fit.ranking import Fit


def register(models: typer.Typer) -> None:
    """Add the command to those under ``models``."""
    models.command()(fit)


def fit(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="One checkpoint: its id, a folder, or a config.json; without it, the catalogue.",
        ),
    ] = None,
    context: Annotated[
        int, typer.Option(min=1, help="Tokens of a sequence: prompt and answer.")
    ] = 4096,
    batch: Annotated[int, typer.Option(min=1, help="Sequences at once.")] = 1,
    precision: Annotated[
        str,
        typer.Option(help="fp32, bf16, fp8, int8, int4 or mxfp4; without it, the best that fits."),
    ] = "",
    purpose: Annotated[
        Literal["serve", "train"],
        typer.Option("--for", help="To serve, or to train by LoRA."),
    ] = "serve",
    memory: Annotated[
        float | None,
        typer.Option(help="Free memory of the processor in GB, instead of what is found."),
    ] = None,
    benchmark: Annotated[
        str, typer.Option(help="Order by published scores on the benchmark with this in its name.")
    ] = "",
    fitting: Annotated[bool, typer.Option("--fitting", help="Only those that fit.")] = False,
    catalog: Annotated[
        list[Path] | None,
        typer.Option("--catalog", metavar="FILE", help="A catalogue file of your own."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show which checkpoints this machine can run, at which precision, and about how fast.

    Memory in GB (10^9 bytes); context: the longest that fits. Tokens a second are a bound for one
    step of all sequences, from memory bandwidth and what is read; real engines reach a part of it.
    """
    from openwheel.catalog.fit import Wish
    from openwheel.catalog.fit import precision as find_precision
    from openwheel.catalog.fit.hardware import together

    if memory is not None and not memory > 0:
        raise SettingError(f"--memory must be above 0, was {memory:g}")
    precisions = (find_precision(precision),) if precision else ()
    wish = Wish(purpose=purpose, context=context, batch=batch, precisions=precisions)
    devices = together(_devices(memory))
    if what is not None:
        _one(what, devices, wish, catalog, json)
        return
    from openwheel.catalog.fit.ranking import judge_rows
    from openwheel.cli.models import open_catalog

    rows = open_catalog(catalog).checkpoints
    fits, ordered_by, unknown = judge_rows(rows, devices, wish, benchmark=benchmark)
    if benchmark and not ordered_by:
        raise CatalogError(f"No checkpoint that fits has a score on a benchmark like {benchmark!r}")
    shown = [one for one in fits if one.verdict.fits or not fitting]
    if json:
        print_json(
            {
                "devices": devices,
                "wish": _told(wish),
                "benchmark": ordered_by,
                "checkpoints": shown,
                "size_unknown": unknown,
            }
        )
        return
    _print_devices(devices)
    _print_rows(shown, ordered_by)
    count = sum(one.verdict.fits for one in fits)
    note(
        f"{count} of {len(fits)} fit, for {purpose} with {context} tokens of context, {batch} at "
        f"once; of {len(unknown)} more the size is not known."
    )


def _devices(memory: float | None) -> "list[Device]":
    """Return this machine's devices, the processor's speed measured."""
    import msgspec

    from openwheel.catalog.fit.hardware import find_devices, find_system
    from openwheel.catalog.fit.measure import measure_cpu

    taken = None if memory is None else int(memory * 1e9)
    *others, cpu = find_devices(memory=taken)
    speed = measure_cpu(max(int(find_system(memory=taken).cpus), 1))
    measured = msgspec.structs.replace(
        cpu, bandwidth=speed.bandwidth, flops=speed.flops, bandwidth_source="measured"
    )
    return [*others, measured]


def _one(
    what: str, devices: "Sequence[Device]", wish: "Wish", catalog: list[Path] | None, json: bool
) -> None:
    from openwheel.catalog.fit import from_folder, judge
    from openwheel.catalog.fit.ranking import judge_row
    from openwheel.cli.models import open_catalog

    path = Path(what)
    if path.exists():
        folder = from_folder(path)
        architecture = folder.architecture
        stored = 0.0 if folder.quantised else folder.stored
        verdicts = [judge(architecture, device, wish, stored=stored) for device in devices]
        billions = architecture.parameters / 1e9
    else:
        row = open_catalog(catalog).find(what)
        found = judge_row(row, devices, wish)
        if found is None:
            raise CatalogError(f"Of {row.id} neither size nor shape is known")
        verdicts = [found.verdict, *found.others]
        billions = found.parameters or 0.0
    if json:
        told = {"checkpoint": what, "parameters": billions, "wish": _told(wish)}
        print_json({**told, "devices": devices, "verdicts": verdicts})
        return
    _print_devices(devices)
    columns = ["device", "fits", "precision", "GB", "of", "context", "tokens/s", "prompt/s"]
    print_table(columns, [[v.device, "yes" if v.fits else "no", *_cells(v)] for v in verdicts])
    note(f"{what}: {billions:.3g} billion parameters")
    for verdict in verdicts:
        if said := _why(verdict):
            out.print(f"{verdict.device}: {said}")


def _print_devices(devices: "Sequence[Device]") -> None:
    rows = [
        [
            device.name,
            device.kind,
            f"{device.free / 1e9:.1f} of {device.memory / 1e9:.1f}",
            f"{device.bandwidth / 1e9:.0f}" if device.bandwidth else "?",
            device.bandwidth_source or "unknown",
        ]
        for device in devices
    ]
    print_table(["device", "kind", "GB free", "GB/s", "from"], rows)
    out.print()


def _print_rows(fits: "Sequence[Fit]", benchmark: str) -> None:
    rows = [
        [
            one.id,
            f"{one.parameters:.3g}" if one.parameters is not None else "?",
            "yes" if one.verdict.fits else "no",
            *_cells(one.verdict),
            f"{one.quality.value:g}" if one.quality is not None else "",
            _why(one.verdict),
        ]
        for one in fits
    ]
    columns = ["checkpoint", "billions", "fits", "precision", "GB", "of", "context"]
    print_table([*columns, "tokens/s", "prompt/s", "score", "why not, or what is unknown"], rows)
    if benchmark:
        note(f"score: {benchmark}")


def _cells(verdict: "Verdict") -> list[str]:
    rate = verdict.rate
    return [
        verdict.precision,
        f"{verdict.needed / 1e9:.1f}",
        f"{verdict.free / 1e9:.1f}",
        f"{verdict.longest:,}" if verdict.longest is not None else "?" if verdict.fits else "",
        f"{rate.decode:.3g}" if rate and rate.decode else "?" if verdict.fits else "",
        f"{rate.prefill:.3g}" if rate and rate.prefill else "?" if verdict.fits else "",
    ]


def _why(verdict: "Verdict") -> str:
    left_out = f"leaves out {verdict.approximate}" if verdict.approximate else ""
    if verdict.approximate.startswith("the weights alone"):
        left_out = verdict.approximate
    return "; ".join(part for part in (verdict.reason, left_out) if part)


def _told(wish: "Wish") -> dict[str, Any]:
    return {
        "for": wish.purpose,
        "context": wish.context,
        "batch": wish.batch,
        "precision": wish.precisions[0].name if wish.precisions else None,
    }
