"""Whether a checkpoint fits a device, at which precision, with how long a context; or why not."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from openwheel.catalog.fit.devices import Device
from openwheel.catalog.fit.memory import Use, serving_memory
from openwheel.catalog.fit.precision import PRECISIONS, Precision
from openwheel.catalog.fit.shape import Architecture
from openwheel.catalog.fit.speed import Rate, expected_rate
from openwheel.catalog.fit.training import training_memory

RUNTIME: Final[Mapping[str, int]] = MappingProxyType({"cpu": 400 << 20})
"""Bytes of a process before it loads anything: on a processor, Python with torch and transformers
as measured (`benchmarks/memory.py`). Elsewhere `ACCELERATOR_RUNTIME`, an assumption."""

ACCELERATOR_RUNTIME = 1 << 30
TRAINING_RUNTIME = 420 << 20
"""Bytes of a training process on a processor before it loads anything, with PEFT; measured."""

LEARNED = 0.25
"""Share of a batch's tokens that are answers: only at those are logits made. An assumption."""

STEP = 256
"""Tokens; the longest context is found to this step."""

LONGEST = 1 << 20
"""Tokens to try at most where a config names no limit."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run.

    Attributes:
        purpose: ``serve``, or ``train`` for LoRA.
        context: Tokens of a sequence; in training, of one that passes at once.
        batch: Sequences at once.
        precisions: To be tried, the best first; none: those usual on a device.
    """

    purpose: str = "serve"
    context: int = 4096
    batch: int = 1
    precisions: tuple[Precision, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for a checkpoint on a device.

    Attributes:
        device: The device's name.
        kind: Its kind.
        fits: Whether it fits.
        precision: The best that fits; if none does, the smallest that was tried.
        needed: Bytes that it takes there, the process's own included.
        free: Bytes there are.
        longest: The longest context that fits at that precision; None where not known or trained.
        rate: Bounds on speed; None where the shape is not known or the purpose is training.
        reason: Why it does not fit, or what is not known.
        approximate: What the numbers leave out.
    """

    device: str
    kind: str
    fits: bool
    precision: str
    needed: int
    free: int
    longest: int | None = None
    rate: Rate | None = None
    reason: str = ""
    approximate: str = ""


def usual_precisions(device: Device, purpose: str) -> tuple[Precision, ...]:
    """Return what models are usually run in on a device, the best first.

    Training by LoRA is in half precision where a device computes in it, in 32 bits on a CPU.
    """
    names: tuple[str, ...]
    if purpose == "train":
        names = ("fp32",) if device.kind == "cpu" else ("bf16",)
    elif device.kind in {"cuda", "rocm"}:
        names = ("bf16", "fp8", "int4")
    elif device.kind == "ascend":
        names = ("bf16", "int8")
    else:
        names = ("bf16", "int8", "int4")
    return tuple(PRECISIONS[name] for name in names)


def judge(
    architecture: Architecture, device: Device, wish: Wish, *, stored: float = 0.0
) -> Verdict:
    """Return the verdict on a checkpoint and a device.

    Args:
        architecture: The checkpoint's.
        device: Where it would run.
        wish: What is asked of it.
        stored: Bytes a weight takes in its files, where they are known; 0: as in memory.
    """
    tried = wish.precisions or usual_precisions(device, wish.purpose)
    verdict: Verdict | None = None
    for precision in tried:
        needed = memory_needed(architecture, device, wish, precision, stored=stored)
        fits = needed <= device.free
        verdict = Verdict(
            device=device.name,
            kind=device.kind,
            fits=fits,
            precision=precision.name,
            needed=needed,
            free=device.free,
            reason="" if fits else _reason(architecture, device, wish, precision, needed),
            approximate=", ".join(architecture.uncounted),
        )
        if fits:
            return _with_more(verdict, architecture, device, wish, stored=stored)
    if verdict is None:
        raise AssertionError("there is always a precision to try")
    return verdict


def judge_size(parameters: float, device: Device, wish: Wish) -> Verdict:
    """Return the verdict where only the number of weights is known: on the weights alone."""
    runtime = _runtime(device, wish)
    tried = wish.precisions or usual_precisions(device, wish.purpose)
    for precision in tried:
        needed = int(parameters * precision.bits / 8) + runtime
        if needed <= device.free:
            break
    fits = needed <= device.free
    return Verdict(
        device=device.name,
        kind=device.kind,
        fits=fits,
        precision=precision.name,
        needed=needed,
        free=device.free,
        reason="" if fits else f"weights take {needed / 1e9:.1f} GB",
        approximate="the weights alone: its shape is not known",
    )


def memory_needed(
    architecture: Architecture,
    device: Device,
    wish: Wish,
    precision: Precision,
    *,
    stored: float = 0.0,
) -> int:
    """Return the bytes of memory that a wish takes on a device, the process's own included."""
    fused = device.kind != "cpu"
    if wish.purpose == "train":
        tokens = wish.context * wish.batch
        step = training_memory(
            architecture,
            tokens=tokens,
            length=wish.context,
            learned_tokens=int(tokens * LEARNED),
            element=float(precision.compute),
            checkpointing=True,
            masked=not fused,
            fused=fused,
        )
        taken = step.total if fused else step.resident
    else:
        taken = _serving(architecture, device, wish, precision, stored).total
    return taken + _runtime(device, wish)


def _serving(
    architecture: Architecture, device: Device, wish: Wish, precision: Precision, stored: float
) -> Use:
    # Half precision and above is what this machine's own engine runs; the rest, others' engines.
    own = device.kind == "cpu" and precision.bits >= 16
    return serving_memory(
        architecture,
        precision=precision,
        context=wish.context,
        batch=wish.batch,
        fused=device.kind != "cpu",
        paged=not own,
        stored=stored if own and stored != precision.bits / 8 else 0.0,
    )


def _with_more(
    verdict: Verdict,
    architecture: Architecture,
    device: Device,
    wish: Wish,
    *,
    stored: float,
) -> Verdict:
    if wish.purpose == "train":
        return verdict
    precision = PRECISIONS[verdict.precision]

    def fits(context: int) -> bool:
        longer = msgspec.structs.replace(wish, context=context)
        taken = memory_needed(architecture, device, longer, precision, stored=stored)
        return taken <= device.free

    rate = expected_rate(
        architecture,
        precision,
        bandwidth=device.bandwidth,
        flops=device.flops,
        context=wish.context,
        batch=wish.batch,
    )
    longest = longest_context(fits, limit=architecture.context or LONGEST)
    return msgspec.structs.replace(verdict, longest=longest, rate=rate)


def longest_context(fits: Callable[[int], bool], *, limit: int) -> int:
    """Return the longest context that fits, in steps of 256 tokens, by halving."""
    if fits(limit):
        return limit
    low, high = 0, max(limit // STEP, 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * STEP) else (low, middle)
    return low * STEP


def _reason(
    architecture: Architecture, device: Device, wish: Wish, precision: Precision, needed: int
) -> str:
    weights = architecture.parameters * precision.bits / 8 / 1e9
    return (
        f"{needed / 1e9:.1f} GB at {precision.name}, weights alone {weights:.1f}; "
        f"{device.free / 1e9:.1f} GB free"
        + ("" if wish.purpose == "serve" else ", with layers run again in the backward pass")
    )


def _runtime(device: Device, wish: Wish) -> int:
    if wish.purpose == "train" and device.kind == "cpu":
        return TRAINING_RUNTIME
    return RUNTIME.get(device.kind, ACCELERATOR_RUNTIME) * device.count


def best(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict to show of one checkpoint on several devices.

    One that fits before one that does not; then the most bits a weight, then the fastest.
    """
    return max(
        verdicts,
        key=lambda v: (
            v.fits,
            PRECISIONS[v.precision].bits if v.fits else 0,
            (v.rate.decode or 0.0) if v.rate else 0.0,
            v.free,
        ),
    )
