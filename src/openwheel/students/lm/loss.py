"""What a pass is trained to: the teacher's tokens, or its probabilities where they are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from openwheel.students.lm.batches import Batch, logits_of
from openwheel.students.lm.examples import Example

LEAST_REST = 1e-6
"""Probability that is left for all other tokens at least, so that its logarithm is finite."""


def loss_of(model: Any, batch: Batch, examples: Sequence[Example], *, teacher: Any = None) -> Any:
    """Return the loss of a batch in nats, summed over the tokens learned.

    Against the teacher's token it is the cross-entropy. Against its probabilities it is the
    forward Kullback-Leibler divergence: over the whole vocabulary where the teacher is here, over
    its likeliest tokens and all others as one where log-probabilities were captured.

    Args:
        model: What is trained.
        batch: A batch of the examples.
        examples: All examples.
        teacher: A model with the same tokenizer, or None.
    """
    import torch  # noqa: PLC0415 - seconds of imports, which only training needs

    logits = logits_of(model, batch).float()
    if teacher is not None:
        with torch.no_grad():
            wanted = logits_of(teacher, batch).float().log_softmax(-1)
        width = min(wanted.shape[-1], logits.shape[-1])  # vocabularies may be padded differently
        found = logits[:, :width].log_softmax(-1)
        wanted = wanted[:, :width].log_softmax(-1)
        return (wanted.exp() * (wanted - found)).sum()
    targets = torch.from_numpy(batch.targets).to(logits.device)
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    soft = _soft(batch, examples)
    if soft is None:
        return each.sum()
    known, ids, logprobs = (torch.from_numpy(part).to(logits.device) for part in soft)
    divergence = top_divergence(logits[known], ids, logprobs)
    return each[~known].sum() + divergence.sum()


def top_divergence(logits: Any, ids: Any, logprobs: Any) -> Any:
    """Return KL(teacher | student) over the teacher's likeliest tokens and the rest as one.

    It is at most the divergence over the whole vocabulary, and zero where the student gives these
    tokens the teacher's probabilities.

    Args:
        logits: The student's, shape (n, vocabulary).
        ids: The likeliest tokens, shape (n, k); -1 where there are fewer.
        logprobs: The teacher's log-probabilities of them, shape (n, k).

    Returns:
        Nats, shape (n,).
    """
    there = ids >= 0
    student = logits.log_softmax(-1).gather(-1, ids.clamp(min=0))
    wanted = logprobs.exp() * there
    shown = (wanted * (logprobs - student).masked_fill(~there, 0.0)).sum(-1)
    rest = (1 - wanted.sum(-1)).clamp(min=LEAST_REST)
    left = (1 - (student.exp() * there).sum(-1)).clamp(min=LEAST_REST)
    return shown + rest * (rest.log() - left.log())


def _soft(
    batch: Batch, examples: Sequence[Example]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Return which learned tokens have probabilities, and theirs, in the batch's order."""
    rows, starts = np.unique(batch.examples, return_index=True)
    parts = [examples[row].soft for row in rows[np.argsort(starts)]]
    if all(part is None for part in parts):
        return None
    known = np.array([examples[row].soft is not None for row in batch.examples])
    width = max(part[0].shape[1] for part in parts if part is not None)
    ids, logprobs = [], []
    for part in parts:
        if part is not None:
            spare = ((0, 0), (0, width - part[0].shape[1]))
            ids.append(np.pad(part[0], spare, constant_values=-1))
            logprobs.append(np.pad(part[1], spare))
    return known, np.concatenate(ids), np.concatenate(logprobs)
