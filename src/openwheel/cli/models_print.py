"""Prints checkpoints for people."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from openwheel.cli.output import out, print_table

if TYPE_CHECKING:
    from openwheel.catalog import Catalog, Checkpoint, Family, Licence

_TRAIN = {"yes": "yes", "no": "NO", "conditional": "if", "unknown": "?"}
_MEASURES = {
    "daily_users": "active users a day",
    "monthly_users": "active users a month",
    "monthly_revenue": "US dollars of revenue a month",
    "annual_revenue": "US dollars of revenue a year",
}
_THEN = {
    "display": "its name must be displayed",
    "licence": "a separate licence is needed",
    "forbidden": "it may not be used",
    "review": "the vendor's review is needed",
}


def print_list(catalog: "Catalog", checkpoints: Sequence["Checkpoint"]) -> None:
    """Print a line a checkpoint."""
    columns = ["checkpoint", "billions", "context", "released", "home", "licence", "trains"]
    lines = []
    for row in checkpoints:
        line = [
            row.id,
            billions(row),
            tokens(row.context),
            row.released or "?",
            row.country,
            f"{row.licence.removeprefix('LicenseRef-')} ({row.confidence})",
            _TRAIN[catalog.may_train_others(row)],
        ]
        lines.append(line)
    print_table(columns, lines)


def print_checkpoint(catalog: "Catalog", row: "Checkpoint") -> None:
    """Print all that is known of one."""
    out.print(row.id, style="bold")
    _print_facts(facts(catalog, row))
    for licence in catalog.licences_of(row):
        out.print(f"\nLicence: {licence.name}", style="bold")
        _print_facts(_licence_facts(licence))
    family = catalog.family(row.model_type)
    if family is not None:
        out.print(f"\nFamily: {family.title} ({row.model_type})", style="bold")
        _print_facts(_family_facts(family))


def print_comparison(catalog: "Catalog", pair: Sequence["Checkpoint"]) -> None:
    """Print two side by side, with a mark where they differ."""
    columns = [dict(facts(catalog, row)) for row in pair]
    for row, rest in zip(pair, columns, strict=True):
        licences = catalog.licences_of(row)
        rest["notice"] = ", ".join(filter(None, (x.notice for x in licences))) or "-"
        rest["not in"] = ", ".join(sorted({r for x in licences for r in x.excluded_regions})) or "-"
        rest["from a size on"] = "; ".join(s for x in licences for s in _thresholds(x)) or "-"
        family = catalog.family(row.model_type)
        rest["class"] = _native(family) if family else "?"
    names = list(dict.fromkeys(name for rest in columns for name in rest))
    lines = []
    for name in names:
        cells = [rest.get(name, "-") for rest in columns]
        lines.append([name, *cells, "" if cells[0] == cells[1] else "*"])
    print_table(["", *(row.id for row in pair), ""], lines)


def facts(catalog: "Catalog", row: "Checkpoint") -> Iterator[tuple[str, str]]:
    """Yield what is known of a checkpoint, by name."""
    yield "organisation", f"{row.organisation} ({row.country})"
    yield "family", row.family
    yield "kind", {"lm": "language model", "encoder": "encoder"}[row.kind]
    yield "billions of parameters", f"{billions(row)} ({row.size_confidence})"
    longer = f", {tokens(row.context_extended)} extended" if row.context_extended else ""
    yield "context", f"{tokens(row.context)}{longer}"
    yield "released", row.released or "?"
    yield "licence", f"{row.licence} ({row.confidence})"
    if row.further_licences:
        yield "and", ", ".join(row.further_licences)
    yield "may train others", catalog.may_train_others(row)
    if row.shape is not None:
        shape = row.shape
        parts = [f"{shape.layers} layers of {shape.hidden:,}"]
        parts.append(f"{shape.heads} heads ({shape.kv_heads} for keys) of {shape.head_dim}")
        if shape.experts:
            parts.append(f"{shape.experts} experts, {shape.experts_per_token} for a token")
        parts.append(f"vocabulary {shape.vocab:,}")
        yield "shape", f"{'; '.join(parts)} ({shape.confidence})"
    for quality in row.quality:
        yield quality.benchmark, f"{quality.value:g} ({quality.confidence}; {quality.source})"
    yield "source", row.source
    if row.notes:
        yield "notes", row.notes


def billions(row: "Checkpoint") -> str:
    """Return total and, where they are fewer, active parameters."""
    if row.total_parameters is None:
        return "?"
    if row.active_parameters is None:
        return f"{row.total_parameters:g} / ?"
    if row.active_parameters == row.total_parameters:
        return f"{row.total_parameters:g}"
    return f"{row.total_parameters:g} / {row.active_parameters:g}"


def tokens(count: int | None) -> str:
    """Return a number of tokens in thousands of 1,024, as publishers count."""
    if count is None:
        return "?"
    return f"{round(count / 1024):,}K" if count >= 1024 else str(count)


def _licence_facts(licence: "Licence") -> Iterator[tuple[str, str]]:
    yield "id", f"{licence.id} ({licence.confidence})"
    if licence.url:
        yield "text", licence.url
    yield "outputs may train", licence.outputs_may_train
    yield "commercial use", licence.commercial
    yield "derivatives", licence.derivatives
    if licence.distillate_is_derivative:
        yield "", "a model trained on its answers is a derivative by its words"
    if licence.derivative_name:
        yield "a derivative's name", f"begins with {licence.derivative_name!r}"
    if licence.notice:
        yield "notice", licence.notice
    if licence.excluded_regions:
        yield "does not apply in", ", ".join(licence.excluded_regions)
    for threshold in _thresholds(licence):
        yield "from a size on", threshold
    for clause in licence.clauses:
        yield f"on {clause.about}", f"{clause.text} ({clause.confidence}; {clause.source})"
    yield "source", licence.source
    if licence.notes:
        yield "notes", licence.notes


def _thresholds(licence: "Licence") -> Iterator[str]:
    for threshold in licence.thresholds:
        size = f"above {threshold.above:,.0f} {_MEASURES[threshold.measure]}"
        holders = f" ({threshold.who})" if threshold.who else ""
        yield f"{size}{holders}: {_THEN[threshold.then]}"


def _family_facts(family: "Family") -> Iterator[tuple[str, str]]:
    yield "class", _native(family)
    if family.loads_as:
        yield "loads as", family.loads_as
    for name, targets in (
        ("LoRA: attention", family.attention_targets),
        ("LoRA: MLP", family.mlp_targets),
        ("LoRA: experts", family.expert_targets),
        ("never targets", family.routers),
    ):
        if targets:
            yield name, ", ".join(targets)
    yield "batching", family.batching
    if family.trust:
        yield "trust", family.trust
    yield "tested", family.tested or "no"
    yield "source", f"{family.source} ({family.confidence})"
    if family.notes:
        yield "notes", family.notes


def _native(family: "Family") -> str:
    return family.native or f"none: {family.reason}"


def _print_facts(lines: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, value)
    out.print(table)
