"""A linear-chain conditional random field in NumPy: training, and the best two paths of tags.

Source: Lafferty, McCallum and Pereira (2001), "Conditional random fields"; AdaGrad of Duchi, Hazan
and Singer (2011) on the rows of weights that a batch touches.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

EPOCHS, FEWER_EPOCHS, MANY_TEXTS = 10, 8, 5_000
"""Passes over the texts; of many texts fewer learn as much."""

BATCH = 32
TAGGED_AT_ONCE = 64
MOST_WORDS = 4_000
"""Words of a batch, padding included: bounds memory where texts are long."""

RATE = 0.25
LAST_RATE = 0.02
"""The rate of learning falls from the first to this share of it."""

PENALTY = 1e-5
NEVER = -1e4
"""Score of a tag that cannot follow another."""


class Crf(NamedTuple):
    """Weights of features, (features, tags), and of which tag follows which, (tags + 1, tags).

    The last row of ``transitions`` is of tags at the start; `NEVER` stands where none may follow.
    """

    weights: FloatArray
    transitions: FloatArray


class Decoded(NamedTuple):
    """What a random field says of one text.

    Attributes:
        tags: The best path, shape (words,).
        marginals: The probability of each of these tags by itself, shape (words,).
        logprob: The logarithm of the path's probability.
        second: The same of the second-best path.
    """

    tags: IntArray
    marginals: FloatArray
    logprob: float
    second: float


class _Batch(NamedTuple):
    """Texts of about one length: local features, which columns those are, tags, mask."""

    features: "scipy.sparse.csr_matrix"
    transposed: "scipy.sparse.csr_matrix"
    columns: npt.NDArray[np.int32]
    tags: IntArray
    mask: BoolArray


def fit_crf(
    features: "scipy.sparse.csr_matrix",
    tags: IntArray,
    lengths: IntArray,
    forbidden: FloatArray,
) -> Crf:
    """Fit a random field.

    Args:
        features: Of each word of each text, one text after the other, shape (words, features).
        tags: Of each word, shape (words,).
        lengths: Words of each text; they sum to the number of words.
        forbidden: Shape (tags + 1, tags): `NEVER` where a tag cannot follow, else 0.
    """
    epochs = EPOCHS if len(lengths) <= MANY_TEXTS else FEWER_EPOCHS
    rng = np.random.default_rng(0)
    size = forbidden.shape[1]
    weights = np.zeros((features.shape[1], size), np.float32)
    squares = np.full(weights.shape, 1e-2, np.float32)
    transitions = np.zeros(forbidden.shape, np.float32)
    past = np.full(forbidden.shape, 1e-2, np.float32)
    batches = _batches(features, tags, lengths, rng)
    for epoch in range(epochs):
        rate = RATE * (1 - epoch / epochs) + LAST_RATE * RATE
        for at in rng.permutation(len(batches)):
            batch = batches[at]
            part = weights[batch.columns]
            texts = len(batch.mask)
            scores = np.zeros((*batch.mask.shape, size), np.float32)
            scores[batch.mask] = batch.features @ part
            marginals, pairs, _ = _forward_backward(
                scores, batch.mask, transitions + forbidden, pairs=True
            )
            slope = marginals[batch.mask]
            truth = batch.tags[batch.mask]
            slope[np.arange(len(truth)), truth] -= 1
            step = np.asarray(batch.transposed @ slope) / texts + PENALTY * part
            seen = squares[batch.columns] + step * step
            squares[batch.columns] = seen
            weights[batch.columns] = part - rate * step / np.sqrt(seen)
            both = batch.mask[:, 1:]
            np.add.at(pairs, (batch.tags[:, :-1][both], batch.tags[:, 1:][both]), -1)
            np.add.at(pairs, (np.full(texts, size), batch.tags[:, 0]), -1)
            step = pairs / texts + PENALTY * transitions
            past += step * step
            transitions -= rate * step / np.sqrt(past)
    return Crf(weights, (transitions + forbidden).astype(np.float32))


def _batches(
    features: "scipy.sparse.csr_matrix", tags: IntArray, lengths: IntArray, rng: np.random.Generator
) -> list[_Batch]:
    """Lay texts of about one length together, with the columns that each batch touches."""
    starts = np.concatenate(([0], np.cumsum(lengths)))
    order = np.lexsort((rng.random(len(lengths)), lengths))
    order = order[lengths[order] > 0]
    batches, at = [], 0
    while at < len(order):
        # By the longest of a whole batch, which comes last.
        longest = int(lengths[order[min(at + BATCH, len(order)) - 1]])
        chosen = order[at : at + max(1, min(BATCH, MOST_WORDS // longest))]
        at += len(chosen)
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
        inside = features[rows]
        columns, local = np.unique(inside.indices, return_inverse=True)
        own = scipy.sparse.csr_matrix(
            (inside.data, local.astype(np.int32), inside.indptr), shape=(len(rows), len(columns))
        )
        mask = np.arange(int(lengths[chosen].max()))[None] < lengths[chosen][:, None]
        laid = np.zeros(mask.shape, np.int64)
        laid[mask] = tags[rows]
        batches.append(_Batch(own, own.T.tocsr(), columns, laid, mask))
    return batches


def decode(crf: Crf, scores: FloatArray, lengths: IntArray) -> list[Decoded]:
    """Return the best path of each text.

    Args:
        crf: The random field.
        scores: Of each tag at each word, one text after the other, shape (words, tags).
        lengths: Words of each text.
    """
    starts = np.concatenate(([0], np.cumsum(lengths)))
    order = np.argsort(lengths, kind="stable")
    nothing = Decoded(np.zeros(0, np.int64), np.zeros(0, np.float32), 0.0, NEVER)
    found = [nothing] * len(lengths)
    order = order[lengths[order] > 0]
    at = 0
    while at < len(order):
        longest = int(lengths[order[min(at + TAGGED_AT_ONCE, len(order)) - 1]])
        chosen = order[at : at + max(1, min(TAGGED_AT_ONCE, MOST_WORDS // longest))]
        at += len(chosen)
        mask = np.arange(int(lengths[chosen].max()))[None] < lengths[chosen][:, None]
        laid = np.zeros((*mask.shape, scores.shape[1]), np.float32)
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
        laid[mask] = scores[rows]
        marginals, _, logz = _forward_backward(laid, mask, crf.transitions, pairs=False)
        paths, best, second = _two_best(laid, mask, crf.transitions)
        own = np.take_along_axis(marginals, paths[:, :, None], 2)[:, :, 0]
        for k, i in enumerate(chosen):
            n = int(lengths[i])
            found[i] = Decoded(
                paths[k, :n], own[k, :n], float(best[k] - logz[k]), float(second[k] - logz[k])
            )
    return found


def _forward_backward(
    scores: FloatArray, mask: BoolArray, transitions: FloatArray, *, pairs: bool
) -> tuple[FloatArray, FloatArray, npt.NDArray[Any]]:
    """Return the marginals of tags, the expected counts of pairs, and log partition functions."""
    texts, words, size = scores.shape
    most = float(transitions[:size].max())
    follow = np.exp(transitions[:size] - most)
    begin = transitions[size]
    most_begin = float(begin.max())
    peak = scores.max(2)
    local = np.exp(scores - peak[:, :, None])
    forward = np.empty((words, texts, size), np.float32)
    scale = np.ones((words, texts), np.float32)
    state = np.exp(begin - most_begin) * local[:, 0]
    total = state.sum(1) + 1e-30
    forward[0], scale[0] = state / total[:, None], total
    for t in range(1, words):
        state = (forward[t - 1] @ follow) * local[:, t]
        total = state.sum(1) + 1e-30
        here = mask[:, t]
        if here.all():
            forward[t], scale[t] = state / total[:, None], total
        else:
            forward[t] = np.where(here[:, None], state / total[:, None], forward[t - 1])
            scale[t] = np.where(here, total, 1)
    backward = np.ones((words, texts, size), np.float32)
    counts = np.zeros((size + 1, size), np.float32)
    turned = np.ascontiguousarray(follow.T)
    for t in range(words - 2, -1, -1):
        here = mask[:, t + 1]
        ahead = local[:, t + 1] * backward[t + 1] / scale[t + 1][:, None]
        if not here.all():
            ahead = np.where(here[:, None], ahead, 0)
            backward[t] = np.where(here[:, None], ahead @ turned, 1)
        else:
            backward[t] = ahead @ turned
        if pairs:
            counts[:size] += forward[t].T @ ahead
    counts[:size] *= follow
    marginals = forward * backward
    marginals /= marginals.sum(2, keepdims=True) + 1e-30
    marginals = marginals.transpose(1, 0, 2)
    if pairs:
        counts[size] = marginals[:, 0].sum(0)
    lengths = mask.sum(1)
    logz = (np.log(scale.T.astype(np.float64)) * mask).sum(1) + (peak * mask).sum(1)
    return marginals, counts, logz + most_begin + most * (lengths - 1)


def _two_best(
    scores: FloatArray, mask: BoolArray, transitions: FloatArray
) -> tuple[IntArray, npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the best paths, their scores, and those of the second-best (by max-marginals)."""
    texts, words, size = scores.shape
    follow = transitions[:size]
    ahead = np.zeros((words, texts, size), np.float32)
    back = np.zeros((words, texts, size), np.int64)
    ahead[0] = transitions[size] + scores[:, 0]
    same = np.arange(size)[None]
    for t in range(1, words):
        reached = ahead[t - 1][:, :, None] + follow[None]
        which = reached.argmax(1)
        value = np.take_along_axis(reached, which[:, None], 1)[:, 0] + scores[:, t]
        here = mask[:, t][:, None]
        ahead[t] = np.where(here, value, ahead[t - 1])
        back[t] = np.where(here, which, same)
    rows = np.arange(texts)
    paths = np.zeros((texts, words), np.int64)
    paths[:, -1] = ahead[-1].argmax(1)
    best = ahead[-1][rows, paths[:, -1]]
    for t in range(words - 1, 0, -1):
        paths[:, t - 1] = back[t][rows, paths[:, t]]
    behind = np.zeros((words, texts, size), np.float32)
    for t in range(words - 2, -1, -1):
        value = (follow[None] + (scores[:, t + 1] + behind[t + 1])[:, None, :]).max(2)
        behind[t] = np.where(mask[:, t + 1][:, None], value, 0)
    through = (ahead + behind).transpose(1, 0, 2)
    np.put_along_axis(through, paths[:, :, None], NEVER, 2)
    through = np.where(mask[:, :, None], through, NEVER)
    return paths, best.astype(np.float64), through.max((1, 2)).astype(np.float64)
