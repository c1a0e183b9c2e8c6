"""Whether a training run fits into memory: its heaviest pass is taken and measured.

Allocations fail beyond a share of the free memory, so that what does not fit is an error here and
not the end of the process.
"""

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from openwheel.errors import ModelError
from openwheel.machine import within_free_memory
from openwheel.students.lm.adapter import compute_again
from openwheel.students.lm.batches import Batch, plan_batches
from openwheel.students.lm.examples import Example
from openwheel.students.lm.loss import loss_of

SHARE = 0.9
"""Of the free memory, what the pass may take: later passes leave holes in the heap."""

PASSES = 2
"""The first warms libraries up and leaves the heap as later ones find it; the last is timed."""


class Fit(NamedTuple):
    """How a run fits.

    Attributes:
        most: Tokens of a pass.
        checkpointing: Whether each layer's values are computed again for the gradient rather
            than kept, which takes a third more time.
        tokens: Tokens of the pass that was measured.
        seconds: What it took.
    """

    most: int
    checkpointing: bool
    tokens: int
    seconds: float


def fit_memory(
    model: Any,
    examples: Sequence[Example],
    *,
    most: int,
    packed: bool,
    teacher: Any = None,
    share: float = SHARE,
) -> Fit:
    """Return the largest pass that fits: `most` tokens, or fewer, or with checkpointing.

    Args:
        model: The base with its adapter; checkpointing is turned on where it is needed.
        examples: The examples.
        most: Tokens that a pass should have.
        packed: Whether they are packed.
        teacher: A model whose probabilities are learned.
        share: Of the free memory, what a pass may take.

    Raises:
        ModelError: The longest example does not fit, whatever is done.
    """
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i].ids))
    longest = len(examples[order[0]].ids)
    most = max(most, longest)
    for checkpointing in (False, True):
        if checkpointing:
            compute_again(model)
        tokens = most
        while True:
            with within_free_memory(share), _none_without_memory():
                batch = plan_batches(examples, order, most=tokens, packed=packed)[0]
                seconds = _pass(model, batch, examples, teacher)
                return Fit(tokens, checkpointing, batch.tokens, seconds)
            gc.collect()
            if tokens == longest:
                break
            tokens = max(longest, tokens // 2)
    raise ModelError(
        f"Training does not fit into the memory that is left for an exchange of {longest} tokens: "
        "lower lm.context or lm.rank, or take a smaller base"
    )


def _pass(model: Any, batch: Batch, examples: Sequence[Example], teacher: Any) -> float:
    """Return the seconds of a pass forward and back."""
    model.train()
    seconds = 0.0
    try:
        for _ in range(PASSES):
            begun = time.monotonic()
            loss = loss_of(model, batch, examples, teacher=teacher)
            loss.backward()
            float(loss.detach())  # an accelerator is waited for
            seconds = time.monotonic() - begun
            del loss
            model.zero_grad(set_to_none=True)
    finally:
        model.zero_grad(set_to_none=True)
    return seconds


@contextlib.contextmanager
def _none_without_memory() -> Iterator[None]:
    """End the block where memory does not suffice, and go on after it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory does not suffice."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "can't allocate memory", "bad allocation")
    )
