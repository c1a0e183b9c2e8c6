"""Shows what this machine can run: ``openwheel models fit``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from openwheel.cli import options
from openwheel.cli.output import note, out, print_json, print_table
from openwheel.errors import CatalogError, SettingError

if TYPE_CHECKING:
    from openwheel.catalog.fit import Device, Fit, Verdict, Wish


def fit(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="One checkpoint: its id, a folder or a GGUF file; without it, the catalogue.",
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
        typer.Option("--for", help="To serve, or to train by LoRA: of a folder, a step is taken."),
    ] = "serve",
    memory: Annotated[
        float | None,
        typer.Option(help="Free memory of the processor in GB, instead of what is found."),
    ] = None,
    benchmark: Annotated[
        str, typer.Option(help="Order by published scores on the benchmark with this in its name.")
    ] = "",
    fitting: Annotated[bool, typer.Option("--fitting", help="Only those that fit.")] = False,
    catalog: options.CatalogFiles = None,
    json: options.Json = False,
) -> None:
    """Show which checkpoints this machine can run, at which precision, and about how fast.

    Memory in GB (10^9 bytes); context: the longest that fits. Tokens a second are a bound, from
    memory bandwidth and what a step reads; real engines reach a part of it.
    """
    from openwheel.catalog.fit import PRECISIONS, Wish, find_devices, judge_rows
    from openwheel.cli.models import open_catalog

    if memory is not None and not memory > 0:
        raise SettingError(f"--memory must be above 0, was {memory:g}")
    if precision and precision not in PRECISIONS:
        raise SettingError(
            f"The precision must be one of {', '.join(PRECISIONS)}, was {precision!r}"
        )
    wish = Wish(purpose=purpose, context=context, batch=batch, precision=precision)
    if checkpoint is not None and purpose == "train" and Path(checkpoint).exists():
        _step(Path(checkpoint), wish, json)
        return
    devices = find_devices(None if memory is None else int(memory * 1e9))
    if checkpoint is not None:
        _one(checkpoint, devices, wish, catalog, json)
        return
    rows = open_catalog(catalog).checkpoints
    fits, ordered_by, unknown = judge_rows(rows, devices, wish, benchmark=benchmark)
    if benchmark and not ordered_by:
        raise CatalogError(f"No checkpoint that fits has a score on a benchmark like {benchmark!r}")
    shown = [fit for fit in fits if fit.verdict.fits or not fitting]
    if json:
        print_json(
            {
                "devices": devices,
                "wish": wish,
                "benchmark": ordered_by,
                "checkpoints": shown,
                "size_unknown": unknown,
            }
        )
        return
    _print_devices(devices)
    _print_rows(shown, ordered_by)
    count = sum(fit.verdict.fits for fit in fits)
    note(
        f"{count} of {len(fits)} fit, for {purpose} with {context} tokens of context, {batch} at "
        f"once; of {len(unknown)} more the size is not known."
    )


def _one(
    checkpoint: str,
    devices: "Sequence[Device]",
    wish: "Wish",
    catalog: list[Path] | None,
    json: bool,
) -> None:
    from openwheel.catalog.fit import judge, of_folder, of_row
    from openwheel.cli.models import open_catalog

    path = Path(checkpoint)
    weights = of_folder(path) if path.exists() else of_row(open_catalog(catalog).find(checkpoint))
    if weights is None:
        raise CatalogError(f"The catalogue does not know the size of {checkpoint}")
    verdicts = [judge(weights, device, wish) for device in devices]
    billions = weights.parameters / 1e9
    if json:
        head = {"checkpoint": checkpoint, "parameters": billions, "wish": wish}
        print_json({**head, "devices": devices, "verdicts": verdicts})
        return
    _print_devices(devices)
    columns = ["device", "fits", *_COLUMNS]
    print_table(columns, [[v.device, "yes" if v.fits else "no", *_cells(v)] for v in verdicts])
    note(f"{checkpoint}: {billions:.3g} billion parameters")
    for verdict in verdicts:
        if reason := _why(verdict):
            out.print(f"{verdict.device}: {reason}")


def _step(path: Path, wish: "Wish", json: bool) -> None:
    """Take a step of training, and say what it took."""
    from openwheel.students.lm.step import measure_step

    settings = options.settings_from(None).lm
    step = measure_step(str(path), context=wish.context, batch=wish.batch, settings=settings)
    if json:
        print_json({"checkpoint": str(path), "wish": wish, "step": step})
        return
    recomputed = ", each layer computed again for its gradient" if step.checkpointing else ""
    out.print(
        f"A pass of {step.tokens:,} tokens takes {step.seconds:.2g} s on {step.device}, and the "
        f"process {step.peak / 1e9:.2f} GB{recomputed}."
    )
    whole = 1000 * wish.context * step.seconds / step.tokens
    out.print(
        f"An epoch of 1,000 exchanges of {wish.context:,} tokens takes about {whole / 60:,.1f} "
        "minutes, less where they share their beginning."
    )


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
            fit.id,
            f"{fit.parameters:.3g}",
            "yes" if fit.verdict.fits else "no",
            *_cells(fit.verdict),
            f"{fit.quality.value:g}" if fit.quality is not None else "",
            _why(fit.verdict),
        ]
        for fit in fits
    ]
    columns = ["checkpoint", "billions", "fits", *_COLUMNS, "score", "why not, or what is unknown"]
    print_table(columns, rows)
    if benchmark:
        note(f"score: {benchmark}")


_COLUMNS = ("precision", "GB", "of", "context", "tokens/s", "prompt/s")


def _cells(verdict: "Verdict") -> list[str]:
    unknown = "?" if verdict.fits else ""
    return [
        verdict.precision,
        f"{verdict.needed / 1e9:.1f}",
        f"{verdict.free / 1e9:.1f}",
        f"{verdict.longest:,}" if verdict.longest is not None else unknown,
        f"{verdict.decode:.3g}" if verdict.decode else unknown,
        f"{verdict.prefill:.3g}" if verdict.prefill else unknown,
    ]


def _why(verdict: "Verdict") -> str:
    return "; ".join(part for part in (verdict.reason, verdict.left_out) if part)
