"""Whether a training run fits into memory, before its first step."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from openwheel.catalog.fit import from_config, training_memory
from openwheel.engine.base import Base
from openwheel.engine.memory import free_memory
from openwheel.errors import CatalogError, ModelError
from openwheel.students.lm.batches import shared_beginning
from openwheel.students.lm.examples import Example

SPARE = 1.1
"""Estimates are within a tenth of what was measured; allocators round up."""

BYTES: Final = MappingProxyType({"float32": 4.0, "bfloat16": 2.0, "float16": 2.0})

LOGITS = 4
"""Tensors of logits alive at once: as the model made them, in 32 bits, softmax and gradient."""


class Fit(NamedTuple):
    """How a run fits.

    Attributes:
        most: Tokens of a pass.
        checkpointing: Whether each layer's values are computed again for the gradient rather
            than kept, which takes a third more time.
        needed: Bytes besides the base's weights, 0 where the architecture is not known.
    """

    most: int
    checkpointing: bool
    needed: int


def fit_memory(
    base: Base,
    examples: Sequence[Example],
    *,
    most: int,
    rank: int,
    targets: Sequence[str],
    free: int | None = None,
) -> Fit:
    """Return the largest pass that fits: `most` tokens, or fewer, or with checkpointing.

    Args:
        base: The base, loaded.
        examples: The examples.
        most: Tokens that a pass should have.
        rank: Of the adapter.
        targets: Modules that it changes.
        free: Bytes that may be taken; by default what the device has left.

    Raises:
        ModelError: The longest example does not fit, whatever is done; says what it takes.
    """
    longest = max(len(example.ids) for example in examples)
    most = max(most, longest)
    free = free_memory(base.model.device) if free is None else free
    try:
        architecture = from_config(base.model.config.to_dict())
    except CatalogError:
        return Fit(most, False, 0)  # the system's own limits must do
    if free is None:
        return Fit(most, False, 0)
    shared = shared_beginning(examples)
    share = max((len(e.ids) - e.prompt) / (len(e.ids) - shared) for e in examples)
    needed = 0
    for checkpointing in (False, True):
        tokens = most
        while True:
            step = training_memory(
                architecture,
                tokens=tokens,
                length=tokens,
                learned_tokens=int(share * tokens) + 1,
                element=BYTES[base.precision],
                rank=rank,
                targets=targets,
                checkpointing=checkpointing,
                masked=True,
                fused=base.device != "cpu",
                copies=LOGITS,
            )
            needed = int(SPARE * (step.total - step.weights))
            if needed <= free:
                return Fit(tokens, checkpointing, needed)
            if tokens == longest:
                break
            tokens = max(longest, tokens // 2)
    raise ModelError(
        f"Training {base.name} takes {needed / 1e9:.2f} GB besides its weights for the longest "
        f"exchange of {longest} tokens, and {base.device} has {free / 1e9:.2f} GB left: lower "
        "lm.context or lm.rank, or take a smaller base"
    )
