"""Compares two models by their logits on the same texts."""

from collections.abc import Sequence
from typing import Any

import msgspec
import torch

from openwheel.errors import ModelError

_LENGTH = 128
_GENERAL = (
    "The quick brown fox jumps over the lazy dog, 12 times out of 345.",
    '{"label": "refund", "amount": 12.5, "items": ["a", "b"]}',
    "Straße naïve 漢字 русский हिन्दी 🙂\n\nSecond paragraph.",
)
# Root mean square of the difference, as a share of the logits' own spread. Rounding a weight to
# bfloat16 moves it by up to 1/256 of itself, to float16 by 1/2048; what is left of that in the
# logits grows with depth. A wrong merge moves them by several tenths or more.
TOLERANCES = {"float32": 1e-4, "float16": 0.005, "bfloat16": 0.05}


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How near one model's logits are to another's.

    Attributes:
        texts: How many texts were compared.
        tokens: At how many places.
        relative: Root mean square of the difference, as a share of the logits' own spread about
            their mean at each place.
        largest: The largest difference of a logit.
        same_top: Share of the places where both have the same most likely token.
        tolerance: What ``relative`` may be.
    """

    texts: int
    tokens: int
    relative: float
    largest: float
    same_top: float
    tolerance: float


def logits_on(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[Any]:
    """Return a model's logits (tokens, vocabulary) on the start of general texts and of these."""
    logits = []
    with torch.inference_mode():
        for text in (*_GENERAL, *texts):
            ids = tokenizer(text, add_special_tokens=True)["input_ids"][:_LENGTH]
            if ids:
                batch = torch.tensor([ids], device=model.device)
                logits.append(model(input_ids=batch).logits[0].float().cpu())
    return logits


def agree(original: Sequence[Any], exported: Sequence[Any], precision: str) -> Agreement:
    """Compare logits on the same texts.

    Args:
        original: Of the model before the export, as :func:`logits_on` returns them.
        exported: Of the exported one.
        precision: In which its weights are kept: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        ModelError: They differ by more than rounding to that precision explains.
    """
    difference = spread = 0.0
    tokens = values = same = 0
    largest = 0.0
    for true, other in zip(original, exported, strict=True):
        if true.shape != other.shape:
            raise ModelError(
                f"The exported model has logits of shape {tuple(other.shape)}, must be "
                f"{tuple(true.shape)}"
            )
        away = (true - other).double()
        difference += float(away.square().sum())
        spread += float((true - true.mean(dim=-1, keepdim=True)).double().square().sum())
        largest = max(largest, float(away.abs().max()))
        same += int((true.argmax(-1) == other.argmax(-1)).sum())
        tokens += len(true)
        values += true.numel()
    relative = (difference / spread) ** 0.5 if spread else float(difference > 0)
    tolerance = TOLERANCES[precision]
    if not relative <= tolerance:  # also where either is not a number
        raise ModelError(
            f"The exported model's logits must be within {tolerance:.2%} of the original's spread, "
            f"they are {relative:.2%} away; nothing was exported"
        )
    return Agreement(
        texts=len(original),
        tokens=tokens,
        relative=relative,
        largest=largest,
        same_top=same / tokens,
        tolerance=tolerance,
    )
