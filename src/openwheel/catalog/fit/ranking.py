"""The order in which checkpoints that fit are shown: by evidence of quality, then by cost."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from openwheel.catalog.fit.devices import Device
from openwheel.catalog.fit.known import from_row
from openwheel.catalog.fit.verdict import Verdict, Wish, best, judge, judge_size
from openwheel.catalog.rows import Checkpoint, Quality


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint and what was found for it.

    Attributes:
        id: The checkpoint's.
        parameters: In billions; None where not known.
        active: In billions.
        verdict: On the best device for it.
        others: On the other devices.
        quality: Its published score on the benchmark that orders the list, if it has one.
    """

    id: str
    parameters: float | None
    active: float | None
    verdict: Verdict
    others: tuple[Verdict, ...] = ()
    quality: Quality | None = None


def judge_rows(
    rows: Sequence[Checkpoint], devices: Sequence[Device], wish: Wish, *, benchmark: str = ""
) -> tuple[list[Fit], str, list[str]]:
    """Return every language model with its verdict, in order; the benchmark; those of no size.

    First those that fit; of these, those with a published score on one benchmark, the highest
    first; then the others by what a token costs, the cheapest first. Scores on different
    benchmarks are not compared: the benchmark is the one named, or the one that most of those
    that fit have a score on. Those that do not fit come last, the smallest first.
    """
    found: list[Fit] = []
    unknown: list[str] = []
    by_id = {row.id: row for row in rows}
    for row in rows:
        if row.kind != "lm":
            continue
        fit = judge_row(row, devices, wish)
        if fit is None:
            unknown.append(row.id)
        else:
            found.append(fit)
    fitting = [by_id[fit.id] for fit in found if fit.verdict.fits]
    benchmark = choose_benchmark(fitting, benchmark)
    scored = [
        msgspec.structs.replace(fit, quality=score(by_id[fit.id], benchmark)) for fit in found
    ]
    return sorted(scored, key=_order), benchmark, unknown


def judge_row(row: Checkpoint, devices: Sequence[Device], wish: Wish) -> Fit | None:
    """Return the verdicts on a row of the catalogue; None where not even its size is known."""
    architecture = from_row(row)
    if architecture is not None:
        verdicts = [judge(architecture, device, wish) for device in devices]
        total, active = architecture.parameters / 1e9, architecture.active / 1e9
    elif row.total_parameters is not None:
        verdicts = [judge_size(row.total_parameters * 1e9, device, wish) for device in devices]
        total, active = row.total_parameters, row.active_parameters or row.total_parameters
    else:
        return None
    chosen = best(verdicts)
    return Fit(
        id=row.id,
        parameters=total,
        active=active,
        verdict=chosen,
        others=tuple(verdict for verdict in verdicts if verdict is not chosen),
    )


def choose_benchmark(rows: Sequence[Checkpoint], wanted: str = "") -> str:
    """Return a benchmark's full name: that with ``wanted`` in it which most rows have."""
    counts = Counter(
        quality.benchmark
        for row in rows
        for quality in row.quality
        if wanted.lower() in quality.benchmark.lower()
    )
    return max(counts, key=lambda name: (counts[name], name), default="")


def score(row: Checkpoint, benchmark: str) -> Quality | None:
    """Return a row's published score on a benchmark, if it has one."""
    return next((one for one in row.quality if benchmark and one.benchmark == benchmark), None)


def _order(fit: Fit) -> tuple[bool, bool, float, float, str]:
    fits = fit.verdict.fits
    value = fit.quality.value if fit.quality is not None and fits else 0.0
    cost = (fit.active if fits else fit.parameters) or float("inf")
    return not fits, not value, -value, cost, fit.id.lower()
