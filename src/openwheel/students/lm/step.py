"""What a step of training takes on this machine: measured, in a process of its own."""

import resource
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from openwheel.job import Failed, run_job, started
from openwheel.settings import LmSection
from openwheel.students.lm.order import threads_of

ANSWER = 0.25
"""Share of an exchange's tokens that are its answer; an assumption."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured: exchanges of so many tokens, so many at once."""

    settings: LmSection
    context: int
    batch: int


class Step(msgspec.Struct, frozen=True, kw_only=True, tag="step"):
    """What a pass of training took.

    Attributes:
        device: Where it ran.
        tokens: Tokens of the pass.
        seconds: What it took, forward and back.
        peak: The most memory that the process had, bytes; on an accelerator, the most there.
        checkpointing: Whether each layer was computed again for its gradient.
    """

    device: str
    tokens: int
    seconds: float
    peak: int
    checkpointing: bool


_EVENTS: Final[msgspec.json.Decoder[Step | Failed]] = msgspec.json.Decoder(Step | Failed)


def measure_step(base: str, *, context: int, batch: int, settings: LmSection) -> Step:
    """Train on made-up tokens for a pass, and return what it took.

    Args:
        base: A checkpoint's folder.
        context: Tokens of an exchange.
        batch: Exchanges at once.
        settings: How it is trained: rank, targets, precision, threads.

    Raises:
        ModelError: The base cannot be loaded or trained, or memory does not suffice.
    """
    chosen = msgspec.structs.replace(settings, base=base, revision="")
    asked = Asked(settings=chosen, context=context, batch=batch)
    with (
        tempfile.TemporaryDirectory(prefix="openwheel-step-") as folder,
        started(
            "openwheel.students.lm.step",
            asked,
            Path(folder),
            _EVENTS,
            name="A step of training",
            threads=threads_of(chosen),
        ) as job,
    ):
        step = job.next()
    assert isinstance(step, Step)
    return step


def take_step(asked: Asked) -> Step:
    """Take a pass of training in this process."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from openwheel.students.lm.adapter import add_adapter  # noqa: PLC0415
    from openwheel.students.lm.base import load_base  # noqa: PLC0415 - seconds of imports
    from openwheel.students.lm.batches import packs_exactly  # noqa: PLC0415
    from openwheel.students.lm.examples import Example  # noqa: PLC0415
    from openwheel.students.lm.memory import fit_memory  # noqa: PLC0415
    from openwheel.students.lm.work import PACKING  # noqa: PLC0415

    settings = asked.settings
    base = load_base(settings.base, precision=settings.precision, device=settings.device)
    draw = np.random.default_rng(0)
    vocabulary = int(base.model.config.get_text_config().vocab_size)
    examples = [
        Example(draw.integers(0, vocabulary, asked.context), round(asked.context * (1 - ANSWER)))
        for _ in range(asked.batch)
    ]
    model = add_adapter(base, settings)
    packed = packs_exactly(model, examples, tolerance=PACKING[base.precision])
    fit = fit_memory(model, examples, most=asked.context * asked.batch, packed=packed)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = used if sys.platform == "darwin" else used << 10
    if torch.device(base.device).type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    return Step(
        device=str(base.device),
        tokens=fit.tokens,
        seconds=fit.seconds,
        peak=peak,
        checkpointing=fit.checkpointing,
    )


if __name__ == "__main__":
    sys.exit(run_job(Asked, lambda asked, tell: tell(take_step(asked))))
