"""Packing: several examples in one pass, each as if it were alone.

The exchanges of a task begin with the same words. In a pack these stand once, and the rest of each
example follows; an attention mask lets every token see the shared beginning and its own example
alone, and positions count as if there were no others. Loss and gradient are those of the examples
one by one; only the work of the beginning is not done again and again.

Models whose layers are not all plain attention (state spaces, convolutions, windows shorter than an
example) read a pack otherwise; `packs_exactly` finds that out on the examples themselves, and such
models get padded batches of like lengths instead.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from openwheel.students.lm.examples import Example, TokenArray

FEWEST_SHARED = 4
"""A shared beginning of fewer tokens is not worth a mask."""


class Batch(NamedTuple):
    """What one pass through the model takes; arrays on the CPU.

    Attributes:
        ids: Token ids, shape (rows, length).
        positions: Position of each token in its example, shape (rows, length).
        mask: Which tokens each may see, shape (rows, 1, length, length); or for padded rows which
            are real, shape (rows, length).
        keep: Places whose next token is learned, shape (learned,), in a pack; else how many places
            at the end of each row hold all of these.
        rows: For padded rows, which of the kept places are learned, flattened.
        targets: The tokens to learn there, shape (learned,).
        examples: Index of each learned token's example among those given, shape (learned,).
        tokens: Tokens of the examples, as if each stood alone.
    """

    ids: TokenArray
    positions: TokenArray
    mask: np.ndarray[Any, np.dtype[np.bool_]]
    keep: TokenArray | int
    rows: TokenArray | None
    targets: TokenArray
    examples: TokenArray
    tokens: int


def plan_batches(
    examples: Sequence[Example], rows: Sequence[int], *, most: int, packed: bool
) -> list[Batch]:
    """Divide examples into batches.

    Args:
        examples: All examples.
        rows: Which of them, in any order.
        most: Tokens of a batch, as it is computed; one example may be longer.
        packed: Whether they are packed, or padded to like lengths.
    """
    chosen = [examples[row] for row in rows]
    if not packed:
        return [_padded(examples, part) for part in _by_length(examples, rows, most)]
    shared = shared_beginning(chosen)
    order = sorted(rows, key=lambda row: -len(examples[row].ids))
    bins: list[list[int]] = []
    left: list[int] = []
    for row in order:  # first fit, longest first
        length = len(examples[row].ids) - shared
        at = next((i for i, space in enumerate(left) if space >= length), None)
        if at is None:
            bins.append([])
            left.append(max(most - shared, length))
            at = len(bins) - 1
        bins[at].append(row)
        left[at] -= length
    return [_pack(examples, part, shared) for part in bins]


def shared_beginning(examples: Sequence[Example]) -> int:
    """Return how many tokens all examples begin with, at most all but one of each prompt."""
    if len(examples) < 2:
        return 0
    # Where the first and the last in order of their tokens agree, all between them do.
    texts = sorted(tuple(example.ids[: example.prompt - 1].tolist()) for example in examples)
    first, last = texts[0], texts[-1]
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return same if same >= FEWEST_SHARED else 0


def _pack(examples: Sequence[Example], rows: Sequence[int], shared: int) -> Batch:
    lengths = [len(examples[row].ids) - shared for row in rows]
    ids = np.concatenate(
        [examples[rows[0]].ids[:shared], *[examples[r].ids[shared:] for r in rows]]
    )
    positions = np.concatenate([np.arange(shared), *[shared + np.arange(n) for n in lengths]])
    owner = np.concatenate(
        [np.zeros(shared, np.int64), np.repeat(np.arange(len(rows)) + 1, lengths)]
    )
    place = np.arange(len(ids))
    mask = (owner[:, None] == owner[None, :]) | (owner[None, :] == 0)
    mask &= place[:, None] >= place[None, :]
    keep, targets, of = [], [], []
    at = shared
    for row, length in zip(rows, lengths, strict=True):
        example = examples[row]
        start = at + example.prompt - shared - 1
        keep.append(np.arange(start, at + length - 1))
        targets.append(example.ids[example.prompt :])
        of.append(np.full(len(targets[-1]), row))
        at += length
    return Batch(
        ids[None],
        positions[None],
        mask[None, None],
        np.concatenate(keep),
        None,
        np.concatenate(targets),
        np.concatenate(of),
        sum(lengths) + shared * len(rows),
    )


def _by_length(examples: Sequence[Example], rows: Sequence[int], most: int) -> list[list[int]]:
    parts: list[list[int]] = []
    for row in sorted(rows, key=lambda row: -len(examples[row].ids)):
        longest = len(examples[parts[-1][0]].ids) if parts else 0
        if not parts or longest * (len(parts[-1]) + 1) > most:
            parts.append([])
        parts[-1].append(row)
    return parts


def _padded(examples: Sequence[Example], rows: Sequence[int]) -> Batch:
    """Return rows padded on the left, so that all answers end together."""
    chosen = [examples[row] for row in rows]
    length = max(len(example.ids) for example in chosen)
    ids = np.zeros((len(rows), length), np.int64)
    real = np.zeros((len(rows), length), np.bool_)
    learned = [len(example.ids) - example.prompt for example in chosen]
    keep = max(learned) + 1
    flat = []
    for i, example in enumerate(chosen):
        ids[i, length - len(example.ids) :] = example.ids
        real[i, length - len(example.ids) :] = True
        flat.append(i * keep + np.arange(keep - 1 - learned[i], keep - 1))
    return Batch(
        ids,
        np.maximum(real.cumsum(axis=1) - 1, 0),
        real,
        keep,
        np.concatenate(flat),
        np.concatenate([example.ids[example.prompt :] for example in chosen]),
        np.repeat(np.array(rows), learned),
        int(real.sum()),
    )


def logits_of(model: Any, batch: Batch) -> Any:
    """Return the logits where tokens are learned, shape (learned, vocabulary).

    The output layer runs there alone: a prompt's logits would be most of the work and are of no
    use.
    """
    import torch  # noqa: PLC0415 - seconds of imports, which only training needs

    device = model.device
    mask = torch.from_numpy(batch.mask).to(device)
    keep = batch.keep
    if batch.rows is None and model.config.get_text_config()._attn_implementation != "sdpa":
        # Other implementations add the mask to the scores.
        dtype = model.dtype
        mask = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(
            ~mask, torch.finfo(dtype).min
        )
    elif batch.rows is not None:
        mask = mask.long()
    logits = model(
        input_ids=torch.from_numpy(batch.ids).to(device),
        attention_mask=mask,
        position_ids=torch.from_numpy(batch.positions).to(device),
        use_cache=False,
        logits_to_keep=keep if isinstance(keep, int) else torch.from_numpy(keep).to(device),
    ).logits
    flat = logits.reshape(-1, logits.shape[-1])
    return flat if batch.rows is None else flat[torch.from_numpy(batch.rows).to(device)]


def packs_exactly(model: Any, examples: Sequence[Example], *, tolerance: float) -> bool:
    """Whether the model reads packed examples as it reads each alone.

    Looked at on the two longest examples and the shortest, which is where windows and other
    layers' memory would show.

    Args:
        model: The model; nothing is learned here.
        examples: Examples to look at.
        tolerance: How far log-probabilities may differ, for rounding.
    """
    import torch  # noqa: PLC0415

    by_length = sorted(range(len(examples)), key=lambda i: -len(examples[i].ids))
    rows = list(dict.fromkeys([*by_length[:2], by_length[-1]]))
    if len(rows) < 2:
        return False  # nothing to pack
    everything = sum(len(examples[row].ids) for row in rows)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            (pack,) = plan_batches(examples, rows, most=everything, packed=True)
            together = logits_of(model, pack).float().log_softmax(-1)
            for row in rows:
                (alone,) = plan_batches(examples, [row], most=everything, packed=False)
                expected = logits_of(model, alone).float().log_softmax(-1)
                found = together[torch.from_numpy(pack.examples == row).to(together.device)]
                # Of likely tokens: the far tail's logarithms are noise in half precision.
                likely = expected > -12.0
                if not bool(((found - expected).abs()[likely] <= tolerance).all()):
                    return False
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False  # a class that takes no such mask
    finally:
        model.train(training)
    return True
