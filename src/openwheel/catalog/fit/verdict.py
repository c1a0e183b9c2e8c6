"""Judges whether a checkpoint fits a device, at which precision, about how fast; or why not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from openwheel.catalog.fit.devices import Device
from openwheel.catalog.fit.weights import Weights, cache_bytes, of_row, token_values
from openwheel.catalog.rows import Checkpoint, Quality

PRECISIONS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "fp32": (32, 32),
        "bf16": (16, 16),
        "fp8": (8.002, 16),  # blocks of 128 by 128 with a float32 scale, as DeepSeek-V3 publishes
        "int8": (8.5, 8.5),  # GGUF Q8_0: 32 weights and a float16 scale in 34 bytes
        # GGUF Q4_K_M: most tensors Q4_K (4.5 bits), half of the value and down projections and
        # the output layer Q6_K (6.5625 bits).
        "int4": (4.81, 6.5625),
        "mxfp4": (4.25, 16),  # OCP MX: 32 weights of 4 bits and a scale of 8 bits in 17 bytes
    }
)
"""Bits that a weight takes with its share of scales; and one of an embedding or output layer."""

USUAL: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType(
    {
        ("serve", "cpu"): ("bf16", "int8", "int4"),
        ("serve", "cuda"): ("bf16", "fp8", "int4"),
        ("serve", "rocm"): ("bf16", "fp8", "int4"),
        ("train", "cpu"): ("fp32",),
        ("train", "cuda"): ("bf16",),
        ("train", "rocm"): ("bf16",),
    }
)
"""What models are run in, the best first, where nothing is asked for."""

PROCESS: Final[Mapping[str, int]] = MappingProxyType({"cpu": 64 << 20})
"""Bytes of a server's process itself: llama.cpp's, measured (`benchmarks/memory.py`). On
accelerators 1 GiB, an assumption."""

AT_ONCE = 512
"""Tokens of a prompt that pass at once: llama.cpp's ``n_ubatch``."""

ALIVE = 64
"""Bytes that are alive for each of these and each place of the stream, in llama.cpp; measured
(`benchmarks/memory.py`)."""


LONGEST = 1 << 20
"""Tokens to try at most where nothing says what a checkpoint was made for."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint is to do: serve or train, with how many tokens at once.

    Attributes:
        purpose: ``serve``, or ``train`` for LoRA.
        context: Tokens of a sequence.
        batch: Sequences at once.
        precision: One of `PRECISIONS`; ``""`` for the best that fits.
    """

    purpose: str = "serve"
    context: int = 4096
    batch: int = 1
    precision: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a checkpoint fits a device, and how fast it runs there.

    Attributes:
        device: The device's name.
        fits: Whether it fits.
        precision: The best that fits; if none does, the smallest that was tried.
        needed: Bytes that it takes there, the process's own included.
        free: Bytes there are.
        longest: The longest context that fits at that precision; None where it is not known.
        decode: Tokens answered a second, all sequences together, at most: bandwidth over what a
            step reads. None where it is not known.
        prefill: Tokens of prompts taken in a second, at most; None where it is not known.
        reason: Why it does not fit.
        left_out: What the numbers leave out.
    """

    device: str
    fits: bool
    precision: str
    needed: int
    free: int
    longest: int | None = None
    decode: float | None = None
    prefill: float | None = None
    reason: str = ""
    left_out: str = ""


def judge(weights: Weights, device: Device, wish: Wish) -> Verdict:
    """Return the verdict on a checkpoint and a device."""
    tried: Sequence[str] = USUAL[wish.purpose, device.kind]
    if wish.precision:
        tried = (wish.precision,)
    elif weights.fixed and wish.purpose == "serve":
        tried = ("as stored",)
    for precision in tried:
        needed = int(_needed(weights, device, wish, precision, wish.context))
        if needed <= device.free:
            break
    fits = needed <= device.free
    stored = weight_bytes(weights, precision)
    verdict = Verdict(
        device=device.name,
        fits=fits,
        precision=precision,
        needed=needed,
        free=device.free,
        reason=""
        if fits
        else f"{needed / 1e9:.1f} GB at {precision}, weights alone {stored / 1e9:.1f}; "
        f"{device.free / 1e9:.1f} GB free",
        left_out=_left_out(weights, wish),
    )
    if not fits or wish.purpose == "train":
        return verdict
    read = stored * weights.active / weights.parameters
    if weights.shape is not None:
        read += cache_bytes(weights.shape, context=wish.context, batch=wish.batch)
    return msgspec.structs.replace(
        verdict,
        longest=_longest(weights, device, wish, precision),
        decode=device.bandwidth and wish.batch * device.bandwidth / read,
        prefill=device.flops and device.flops / (2 * weights.active),
    )


def weight_bytes(weights: Weights, precision: str) -> float:
    """Return the bytes of all weights at a precision, or ``as stored``."""
    if precision == "as stored":
        return weights.stored
    bits, outer = PRECISIONS[precision]
    return ((weights.parameters - weights.tables) * bits + weights.tables * outer) / 8


def _needed(weights: Weights, device: Device, wish: Wish, precision: str, context: int) -> float:
    total = weight_bytes(weights, precision) + PROCESS.get(device.kind, 1 << 30)
    if weights.shape is None or wish.purpose == "train":
        return total
    total += ALIVE * min(AT_ONCE, context) * weights.shape.hidden
    return total + cache_bytes(weights.shape, context=context, batch=wish.batch)


def _left_out(weights: Weights, wish: Wish) -> str:
    if wish.purpose == "train":
        return "the weights alone: a step is measured where they lie, `models fit FOLDER`"
    return "" if weights.shape is not None else "the weights alone: its shape is not known"


def _longest(weights: Weights, device: Device, wish: Wish, precision: str) -> int | None:
    """Return the longest context that fits, at most what the checkpoint was made for."""
    shape = weights.shape
    if shape is None or not token_values(shape):
        return None
    low, high = 0, weights.context or LONGEST
    if _needed(weights, device, wish, precision, high) <= device.free:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        fits = _needed(weights, device, wish, precision, middle) <= device.free
        low, high = (middle, high) if fits else (low, middle)
    return low


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint with its verdict.

    Attributes:
        id: The checkpoint's.
        parameters: In billions.
        active: In billions.
        verdict: On the best device for it.
        quality: Its published score on the benchmark that orders the list, if it has one.
    """

    id: str
    parameters: float
    active: float
    verdict: Verdict
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
    fits_by_id: dict[str, Fit] = {}
    models = [row for row in rows if row.kind == "lm"]
    for row in models:
        weights = of_row(row)
        if weights is not None:
            verdict = max((judge(weights, device, wish) for device in devices), key=_best)
            total, active = weights.parameters / 1e9, weights.active / 1e9
            fits_by_id[row.id] = Fit(id=row.id, parameters=total, active=active, verdict=verdict)
    counts = Counter(
        quality.benchmark
        for row in models
        if row.id in fits_by_id and fits_by_id[row.id].verdict.fits
        for quality in row.quality
        if benchmark.lower() in quality.benchmark.lower()
    )
    benchmark = max(counts, key=lambda name: (counts[name], name), default="")
    scored = [
        msgspec.structs.replace(
            fits_by_id[row.id],
            quality=next((score for score in row.quality if score.benchmark == benchmark), None),
        )
        for row in models
        if row.id in fits_by_id
    ]
    return sorted(scored, key=_order), benchmark, [r.id for r in models if r.id not in fits_by_id]


def _best(verdict: Verdict) -> tuple[bool, float, float, int]:
    """Order verdicts of one checkpoint: that it fits, then bits a weight, then speed."""
    bits = PRECISIONS.get(verdict.precision, (0.0, 0.0))[0] if verdict.fits else 0.0
    return verdict.fits, bits, verdict.decode or 0.0, verdict.free


def _order(fit: Fit) -> tuple[bool, bool, float, float, str]:
    fits = fit.verdict.fits
    value = fit.quality.value if fit.quality is not None and fits else 0.0
    return not fits, not value, -value, fit.active if fits else fit.parameters, fit.id.lower()
