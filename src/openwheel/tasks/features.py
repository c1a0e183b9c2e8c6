"""Finds sets of prompts that share many short runs of tokens."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openwheel.tasks.skeleton import Ids
from openwheel.tasks.template import Parts
from openwheel.tasks.tokens import CUT, FIRST_PART, Vocabulary

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
# A template shows at the ends of a part. The middle of an input of many pages does not matter, and
# reading it would make long prompts expensive.
_END_CHARACTERS = 3000


class Cluster:
    """Prompts that share some runs of tokens, and how many runs they are.

    Attributes:
        members: Indices of the prompts.
        size: How many features have exactly these prompts.
    """

    def __init__(self, members: NDArray[np.int64], size: int) -> None:
        self.members = members
        self.size = size


class Features:
    """The prompts (0 to n - 1) that hold each sufficiently frequent run of tokens."""

    def __init__(self, prompts: Sequence[Parts], vocabulary: Vocabulary, least: int) -> None:
        ids, owner = _concatenate(prompts, vocabulary)
        hashes, owners = _runs(ids, owner)
        order = np.argsort(hashes, kind="stable")
        hashes, owners = hashes[order], owners[order]
        starts = np.flatnonzero(np.r_[True, hashes[1:] != hashes[:-1]])
        counts = np.diff(np.r_[starts, len(hashes)])
        frequent = counts >= least
        frequent_rows = np.repeat(frequent, counts)
        names = np.repeat(np.cumsum(frequent) - 1, counts)[frequent_rows]
        pairs = np.unique(names.astype(np.int64) * len(prompts) + owners[frequent_rows])
        self.n = len(prompts)
        self.feature = pairs // self.n
        self.prompt = pairs % self.n
        self.least = least
        # Prompt sets are compared by the sum of random numbers of their members.
        self._random = np.random.default_rng(0).integers(1, 2**63, self.n, dtype=np.uint64)
        self.masked = _masked(ids, owner, self.n)

    def within(self, members: NDArray[np.int64]) -> "View":
        """Return the features of some prompts only."""
        inside = np.zeros(self.n, bool)
        inside[members] = True
        rows = inside[self.prompt]
        return View(self, members, self.feature[rows], self.prompt[rows])


class View:
    """The features of a group of prompts."""

    def __init__(
        self,
        features: Features,
        members: NDArray[np.int64],
        feature: NDArray[np.int64],
        prompt: NDArray[np.int64],
    ) -> None:
        self.features = features
        self.members = members
        self.feature = feature
        self.prompt = prompt

    def within(self, members: NDArray[np.int64]) -> "View":
        """Return the features of fewer prompts."""
        inside = np.zeros(self.features.n, bool)
        inside[members] = True
        rows = inside[self.prompt]
        return View(self.features, members, self.feature[rows], self.prompt[rows])

    def distinct(self, members: NDArray[np.int64]) -> int:
        """Return how many of some prompts differ in more than volatile tokens."""
        return len(np.unique(self.features.masked[members]))

    def clusters(self) -> list[Cluster]:
        """Return sets of prompts that share features the rest lacks, most distinctive first.

        Features that occur in exactly the same prompts are constants of one template, so a set
        is ranked by how many features have it, times how many prompts are in it.
        """
        if not len(self.feature):
            return []
        starts = np.flatnonzero(np.r_[True, self.feature[1:] != self.feature[:-1]])
        counts = np.diff(np.r_[starts, len(self.feature)])
        sums = np.add.reduceat(self.features._random[self.prompt], starts)
        usable = (counts >= self.features.least) & (counts < 0.98 * len(self.members))
        starts, counts, sums = starts[usable], counts[usable], sums[usable]
        if not len(starts):
            return []
        _, first, sizes = np.unique(sums, return_index=True, return_counts=True)
        score = sizes * counts[first]
        order = np.lexsort((starts[first], -score))
        return [
            Cluster(self.prompt[starts[f] : starts[f] + counts[f]], int(size))
            for f, size in zip(first[order].tolist(), sizes[order].tolist(), strict=True)
        ]


def _concatenate(prompts: Sequence[Parts], vocabulary: Vocabulary) -> tuple[Ids, NDArray[np.int64]]:
    pieces: list[list[int]] = []
    lengths: list[int] = []
    for parts in prompts:
        length = 0
        for number, text in enumerate(parts):
            start, end = [FIRST_PART + number], [FIRST_PART + 4 + number]
            if len(text) <= 2 * _END_CHARACTERS:
                middle = [vocabulary.ids(text)]
            else:
                head, tail = text[:_END_CHARACTERS], text[-_END_CHARACTERS:]
                middle = [vocabulary.ids(head), [CUT], vocabulary.ids(tail)]
            for piece in (start, *middle, end):
                pieces.append(piece)
                length += len(piece)
        lengths.append(length)
    ids = np.fromiter((i for piece in pieces for i in piece), np.int64, sum(lengths))
    return ids, np.repeat(np.arange(len(prompts)), lengths)


def _runs(ids: Ids, owner: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return hashes of runs of four tokens, and of shorter ones at a part's or line's edge."""
    hashes = [_hashed(ids, owner, np.arange(max(0, len(ids) - 3)), 4)]
    starts = np.flatnonzero((ids >= FIRST_PART) & (ids < FIRST_PART + 4))
    ends = np.flatnonzero((ids >= FIRST_PART + 4) & (ids < FIRST_PART + 8))
    for n in (2, 3):
        hashes.append(_hashed(ids, owner, starts[starts + n <= len(ids)], n))
        hashes.append(_hashed(ids, owner, ends[ends - n + 1 >= 0] - n + 1, n))
    return np.concatenate([f[0] for f in hashes]), np.concatenate([f[1] for f in hashes])


def _hashed(
    ids: Ids, owner: NDArray[np.int64], starts: NDArray[np.int64], n: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    hashes = np.full(len(starts), n, np.uint64)
    for k in range(n):
        hashes = (hashes ^ ids[starts + k].astype(np.uint64)) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    whole = owner[starts] == owner[starts + n - 1]
    return hashes[whole], owner[starts[whole]]


def _masked(ids: Ids, owner: NDArray[np.int64], n: int) -> NDArray[np.uint64]:
    """Return a hash of each prompt that ignores the values of volatile tokens."""
    position = np.arange(len(ids), dtype=np.uint64)
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER
    mixed ^= mixed >> np.uint64(31)
    starts = np.searchsorted(owner, np.arange(n)).astype(np.uint64)
    mixed *= (position - starts[owner]) * np.uint64(2) + np.uint64(1)
    mixed ^= mixed >> np.uint64(27)
    return np.add.reduceat(mixed * _MULTIPLIER, starts.astype(np.int64))
