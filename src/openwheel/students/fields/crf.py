"""A linear-chain conditional random field in NumPy: training, and the best two paths of tags.

Source: Lafferty, McCallum and Pereira (2001), "Conditional random fields"; AdaGrad of Duchi, Hazan
and Singer (2011) on the rows of weights that a batch touches.
"""

from collections.abc import Iterator, Sequence
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

PENALTY = 1e-4

DROPPED = np.float32(0.3)
KEPT = 1 - DROPPED
"""Share of a word's features that a pass does not see, so that none is leant on alone (Sutton,
Sindelar and McCallum, 2006, "Reducing weight undertraining"). Of 0, 0.2 and 0.4 on training records
of SNIPS as many were right, and their order by probability was better by 5 to 6% of the area under
the risk-coverage curve."""
PATHS, CLOSE = 4, 5.0
"""Paths that are looked at, where the second is at most this much less likely, in logarithms."""

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
        others: Further paths, where the second is close to the best.
    """

    tags: IntArray
    marginals: FloatArray
    logprob: float
    second: float
    others: "tuple[Decoded, ...]" = ()


NOTHING = Decoded(np.zeros(0, np.int64), np.zeros(0, np.float32), 0.0, NEVER)
"""Of a text without words."""


class Choices(NamedTuple):
    """Which tags texts may have: of each group of texts its tags, and the group of each text.

    A record's type tells which fields it may have. Tags of other fields need not be computed.
    """

    tags: Sequence[IntArray]
    groups: IntArray

    def take(self, texts: IntArray) -> "Choices":
        """Return those of some of the texts."""
        return Choices(self.tags, self.groups[texts])


class _Batch(NamedTuple):
    """Texts of one group and about one length, laid out for training.

    Attributes:
        features: Local features of the words, shape (words, columns).
        columns: Which features those are, as a column.
        choices: The tags that the texts may have.
        cells: Where each word stands in (texts, longest), as one row.
        tags: Of each word, as an index among ``choices``.
        pairs: Each tag with the one before, as an index into (choices + 1, choices).
        mask: Where words stand, shape (texts, longest).
    """

    features: "scipy.sparse.csr_matrix"
    columns: IntArray
    choices: IntArray
    cells: IntArray
    tags: IntArray
    pairs: IntArray
    mask: BoolArray


def fit_crf(
    features: "scipy.sparse.csr_matrix",
    tags: IntArray,
    lengths: IntArray,
    forbidden: FloatArray,
    choices: Choices,
) -> Crf:
    """Fit a random field.

    Args:
        features: Of each word of each text, one text after the other, shape (words, features).
        tags: Of each word, shape (words,).
        lengths: Words of each text; they sum to the number of words.
        forbidden: Shape (tags + 1, tags): `NEVER` where a tag cannot follow, else 0.
        choices: The tags that each text may have; its own are among them.
    """
    epochs = EPOCHS if len(lengths) <= MANY_TEXTS else FEWER_EPOCHS
    rng = np.random.default_rng(0)
    size = forbidden.shape[1]
    weights = np.zeros((features.shape[1], size), np.float32)
    squares = np.full(weights.shape, 1e-2, np.float32)
    transitions = np.zeros(forbidden.shape, np.float32)
    past = np.full(forbidden.shape, 1e-2, np.float32)
    batches = _batches(features, tags, lengths, choices, rng)
    for epoch in range(epochs):
        rate = np.float32(RATE * (1 - epoch / epochs) + LAST_RATE * RATE)
        for at in rng.permutation(len(batches)):
            batch = batches[at]
            local = (batch.columns, batch.choices)
            follow = np.ix_(np.append(batch.choices, size), batch.choices)
            part = weights[local]
            texts, longest = batch.mask.shape
            scores = np.zeros((texts * longest, len(batch.choices)), np.float32)
            seen = scipy.sparse.csr_matrix(
                (
                    batch.features.data * (rng.random(batch.features.nnz) >= DROPPED) / KEPT,
                    batch.features.indices,
                    batch.features.indptr,
                ),
                shape=batch.features.shape,
            )
            scores[batch.cells] = seen @ part
            marginals, pairs, _ = _forward_backward(
                scores.reshape(texts, longest, -1),
                batch.mask,
                transitions[follow] + forbidden[follow],
                pairs=True,
            )
            slope = marginals.reshape(texts * longest, -1)[batch.cells]
            slope[np.arange(len(slope)), batch.tags] -= 1
            step = seen.T @ slope
            step /= texts
            step += PENALTY * part
            past_part = squares[local]
            past_part += step * step
            squares[local] = past_part
            step *= rate
            step /= np.sqrt(past_part)
            weights[local] = part - step
            pairs -= np.bincount(batch.pairs, minlength=pairs.size).reshape(pairs.shape)
            step = pairs / texts + PENALTY * transitions[follow]
            past[follow] += step * step
            transitions[follow] -= rate * step / np.sqrt(past[follow])
    return Crf(weights, (transitions + forbidden).astype(np.float32))


def _batches(
    features: "scipy.sparse.csr_matrix",
    tags: IntArray,
    lengths: IntArray,
    choices: Choices,
    rng: np.random.Generator,
) -> list[_Batch]:
    """Lay texts of one group and about one length together, with the columns that they touch."""
    starts = np.concatenate(([0], np.cumsum(lengths)))
    batches = []
    for chosen in _together(lengths, choices.groups, BATCH, rng.random(len(lengths))):
        own = choices.tags[choices.groups[chosen[0]]]
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
        inside = features[rows]
        columns, local = np.unique(inside.indices, return_inverse=True)
        matrix = scipy.sparse.csr_matrix(
            (inside.data, local.astype(np.int32), inside.indptr), shape=(len(rows), len(columns))
        )
        mask = np.arange(int(lengths[chosen].max()))[None] < lengths[chosen][:, None]
        said = np.searchsorted(own, tags[rows])
        before = np.concatenate(([len(own)], said[:-1]))
        before[np.cumsum(lengths[chosen])[:-1]] = len(own)
        batches.append(
            _Batch(
                matrix,
                columns.astype(np.int64)[:, None],
                own,
                np.flatnonzero(mask),
                said,
                before * len(own) + said,
                mask,
            )
        )
    return batches


def _together(
    lengths: IntArray, groups: IntArray, most: int, among: npt.NDArray[np.float64]
) -> Iterator[IntArray]:
    """Yield texts of one group and about one length, ``most`` of them; texts without words never.

    Args:
        lengths: Words of each text.
        groups: Group of each text.
        most: How many at most.
        among: Orders texts of one length.
    """
    order = np.lexsort((among, lengths, groups))
    order = order[lengths[order] > 0]
    at = 0
    while at < len(order):
        part = order[at : at + most]
        part = part[groups[part] == groups[part[0]]]
        # By the longest of a whole batch, which comes last.
        part = part[: max(1, MOST_WORDS // int(lengths[part[-1]]))]
        at += len(part)
        yield part


def decode(
    crf: Crf, scores: FloatArray, lengths: IntArray, choices: Choices, *, several: bool = False
) -> list[Decoded]:
    """Return the best path of each text.

    Args:
        crf: The random field.
        scores: Of each tag at each word, one text after the other, shape (words, tags).
        lengths: Words of each text.
        choices: The tags that each text may have.
        several: Whether further paths are wanted where the second is close.
    """
    starts = np.concatenate(([0], np.cumsum(lengths)))
    found = [NOTHING] * len(lengths)
    for chosen in _together(lengths, choices.groups, TAGGED_AT_ONCE, np.zeros(len(lengths))):
        own = choices.tags[choices.groups[chosen[0]]]
        transitions = crf.transitions[np.ix_(np.append(own, len(crf.transitions) - 1), own)]
        mask = np.arange(int(lengths[chosen].max()))[None] < lengths[chosen][:, None]
        laid = np.zeros((*mask.shape, len(own)), np.float32)
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
        laid[mask] = scores[rows[:, None], own]
        marginals, _, logz = _forward_backward(laid, mask, transitions, pairs=False)
        paths, best, second = _two_best(laid, mask, transitions)
        likely = np.take_along_axis(marginals, paths[:, :, None], 2)[:, :, 0]
        for k, i in enumerate(chosen):
            n = int(lengths[i])
            found[i] = Decoded(
                own[paths[k, :n]],
                likely[k, :n],
                float(best[k] - logz[k]),
                float(second[k] - logz[k]),
            )
            if several and best[k] - second[k] < CLOSE:
                others = _others(laid[k, :n], transitions, marginals[k, :n], float(logz[k]), own)
                found[i] = found[i]._replace(others=others)
    return found


def _others(
    scores: FloatArray, transitions: FloatArray, marginals: FloatArray, logz: float, tags: IntArray
) -> tuple[Decoded, ...]:
    """Return the best paths of one text but the first, each tag a list of the best ways to it."""
    words, size = scores.shape
    follow = transitions[:size]
    reached = np.full((PATHS, size), 2 * NEVER, np.float32)
    reached[0] = transitions[size] + scores[0]
    back = []
    for t in range(1, words):
        ways = (reached[:, :, None] + follow).reshape(-1, size)
        order = np.argpartition(-ways, PATHS - 1, axis=0)[:PATHS]
        values = np.take_along_axis(ways, order, 0)
        back.append(order)
        reached = values + scores[t]
    ends = np.argsort(-reached, axis=None, kind="stable")[:PATHS]
    rows = np.arange(words)
    found = []
    for end in ends[1:]:
        score = float(reached.flat[end])
        if score < NEVER / 2:
            continue
        path, at = np.empty(words, np.int64), int(end)
        for t in range(words - 1, 0, -1):
            path[t] = at % size
            at = int(back[t - 1][at // size, path[t]])
        path[0] = at % size
        found.append(Decoded(tags[path], marginals[rows, path], score - logz, score - logz))
    return tuple(found)


def decode_one(crf: Crf, scores: FloatArray, tags: IntArray, *, several: bool = False) -> Decoded:
    """Return the best path of one text, as `decode` does but without what batches need.

    Args:
        crf: The random field.
        scores: Of the tags that the text may have at each word, shape (words, own tags).
        tags: Which tags those are.
        several: Whether further paths are wanted where the second is close.
    """
    words, size = scores.shape
    if not words:
        return NOTHING
    transitions = crf.transitions[np.ix_(np.append(tags, len(crf.transitions) - 1), tags)]
    follow, turned = transitions[:size], np.ascontiguousarray(transitions[:size].T)
    weights = np.exp(follow)
    peak = scores.max(1)
    local = np.exp(scores - peak[:, None])
    begin = transitions[size]
    forward = np.empty((words, size), np.float32)
    scale = np.empty(words, np.float64)
    ahead = np.empty((words, size), np.float32)
    back = np.zeros((words, size), np.int64)
    columns = np.arange(size)
    now, best = np.exp(begin) * local[0], begin + scores[0]
    for t in range(words):
        if t:
            now = (now @ weights) * local[t]
            reached = best + turned
            which = back[t] = reached.argmax(1)
            best = reached[columns, which] + scores[t]
        total = scale[t] = now.sum() + 1e-30
        now = now / total
        forward[t], ahead[t] = now, best
    path = np.empty(words, np.int64)
    path[-1] = best.argmax()
    for t in range(words - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    backward = np.ones((words, size), np.float32)
    behind = np.zeros((words, size), np.float32)
    turned_weights = np.ascontiguousarray(weights.T)
    for t in range(words - 2, -1, -1):
        backward[t] = (local[t + 1] * backward[t + 1] / scale[t + 1]) @ turned_weights
        behind[t] = (follow + (scores[t + 1] + behind[t + 1])).max(1)
    rows = np.arange(words)
    marginals = forward * backward
    likely = marginals[rows, path] / (marginals.sum(1) + 1e-30)
    through = ahead + behind
    through[rows, path] = NEVER
    logz = float(np.log(scale).sum() + peak.sum())
    first, second = float(best[path[-1]]), float(through.max())
    others: tuple[Decoded, ...] = ()
    if several and first - second < CLOSE:
        marginals /= marginals.sum(1, keepdims=True) + 1e-30
        others = _others(scores, transitions, marginals, logz, tags)
    return Decoded(tags[path], likely, first - logz, second - logz, others)


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
