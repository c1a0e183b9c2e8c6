"""Induces the template of a group of prompts: runs of tokens become literals of raw text."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from openwheel.tasks.skeleton import Ids, Marks, Run, common_runs
from openwheel.tasks.template import ANY, Part, Parts, PromptKey, Template
from openwheel.tasks.tokens import MASK, Vocabulary

_MOST_TOKENS = 60_000  # of one part, over all texts looked at; keeps long prompts affordable
_FEWEST_TEXTS = 60
_LEAST_HISTORY = 80  # characters, turn markers included


class Inducer:
    """Induces templates over one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._marks: Marks | None = None
        self._arrays: dict[str, Ids] = {}

    def array(self, text: str) -> Ids:
        """Return the token ids of a text."""
        ids = self._arrays.get(text)
        if ids is None:
            ids = np.array(self.vocabulary.ids(text), dtype=np.int64)
            self._arrays[text] = ids
        return ids

    def template(
        self,
        prompts: Sequence[Parts],
        repeats: Sequence[int],
        key: PromptKey,
        *,
        most: int = 200,
    ) -> Template:
        """Return the template of distinct prompts that belong together, from ``most`` of them."""
        step = max(1, len(prompts) // most)
        chosen = prompts[::step][:most]
        parts = []
        for i in range(4):
            counts: Counter[str] = Counter()
            for prompt, times in zip(prompts, repeats, strict=True):
                counts[prompt[i]] += times
            part = self.part([prompt[i] for prompt in chosen], counts)
            if i in (1, 3) and part.variables and sum(map(len, part.literals)) < _LEAST_HISTORY:
                part = ANY  # text that conversations share by chance is no template
            if i == 3 and key.after:
                part = ANY  # what tools returned is read with the names of its fields
            parts.append(part)
        first, second, third, fourth = parts
        return Template((first, second, third, fourth), key.tools, key.response_format, key.after)

    def part(self, texts: Sequence[str], counts: Counter[str]) -> Part:
        """Return the common part of the texts of one part.

        Args:
            counts: How often each text occurs in the whole group.
        """
        if len(set(texts)) == 1:
            return self._of_runs([self.array(texts[0]).tolist()], texts)
        arrays, total = [], 0
        for text in texts:
            arrays.append(self.array(text))
            total += len(arrays[-1])
            if total > _MOST_TOKENS and len(arrays) >= _FEWEST_TEXTS:
                break
        if self._marks is None or len(self._marks.word) < len(self.vocabulary.tokens):
            self._marks = Marks(self.vocabulary.tokens)
        repeats = [counts[text] for text in texts[: len(arrays)]]
        # The count is of the whole group, so each distinct text must carry it once.
        seen: set[str] = set()
        for i, text in enumerate(texts[: len(arrays)]):
            if text in seen:
                repeats[i] = 0
            seen.add(text)
        runs = common_runs(arrays, repeats, self._marks)
        return self._of_runs(runs, texts[: len(arrays)])

    def _of_runs(self, runs: list[Run], texts: Sequence[str]) -> Part:
        literals, volatile = self._literals(runs)
        if len(literals) == 1:
            return Part((literals[0],))
        while True:
            part = _with_pivot(Part(tuple(literals)), texts)
            values = [value for text in texts if (value := part.match(text)) is not None]
            if not values:
                return ANY
            changed = _settle_edges(literals, volatile, values)
            # A literal that is nothing but what ends a sentence belongs to the values.
            for i in range(len(literals) - 2, 0, -1):
                if not literals[i].strip(" .,;?!"):
                    del literals[i]
                    volatile[i - 1] = volatile[i - 1] and volatile[i]
                    del volatile[i]
                    changed = True
            if not changed:
                return part

    def _literals(self, runs: list[Run]) -> tuple[list[str], list[bool]]:
        """Return the literals, and for each variable whether it is a volatile token's."""
        tokens = self.vocabulary.tokens
        literals: list[str] = []
        volatile: list[bool] = []
        for i, run in enumerate(runs):
            if i:
                volatile.append(False)
            piece: list[str] = []
            for token in run:
                if token == MASK:
                    literals.append("".join(piece))
                    volatile.append(True)
                    piece = []
                else:
                    piece.append(tokens[token])
            literals.append("".join(piece))
        # Two variables with no distinctive text between them are one.
        i = 1
        while i < len(literals) - 1:
            if not any(c.isalnum() or c == "\n" for c in literals[i]) and (
                volatile[i - 1] or volatile[i] or not literals[i]
            ):
                del literals[i]
                volatile[i - 1] = volatile[i - 1] and volatile[i]
                del volatile[i]
            else:
                i += 1
        return literals, volatile


def _settle_edges(literals: list[str], volatile: list[bool], values: list[tuple[str, ...]]) -> bool:
    """Move constant spaces into the literals and ends of sentences into the values."""
    changed = False
    for i, is_volatile in enumerate(volatile):
        column = [value[i] for value in values]
        lead = _usual([value[: len(value) - len(value.lstrip())] for value in column])
        if lead:
            literals[i] += lead
            column = [value.removeprefix(lead) for value in column]
            changed = True
        trail = _usual([value[len(value.rstrip()) :] for value in column])
        if trail:
            literals[i + 1] = trail + literals[i + 1]
            changed = True
        after = literals[i + 1]
        stops = ".?!。？！"
        stopped = sum(value[-1:] in tuple(stops) for value in column) > 0.1 * len(column)
        if not is_volatile and not trail and not stopped and after[:1] in tuple(stops):
            # Unless the sentence goes on after a word or two, as in "I am {name}. Help me".
            rest = after.lstrip(stops)
            words = sum(len(value.split()) for value in column) / len(column)
            if words >= 4 or not rest.strip(" ") or not (rest[0] == " " or rest[0].isalnum()):
                literals[i + 1] = rest
                changed = True
    return changed


def _usual(ends: list[str]) -> str:
    """Return the spaces that nearly all values share at one end."""
    end, times = Counter(ends).most_common(1)[0]
    return end if end and times >= 0.98 * len(ends) else ""


def _with_pivot(part: Part, texts: Sequence[str]) -> Part:
    """Choose as pivot the variable with the longest values."""
    if part.variables < 2:
        return part
    totals = np.zeros(part.variables)
    for text in texts:
        values = part.match(text)
        if values is not None:
            totals += [len(value) for value in values]
    return Part(part.literals, int(totals.argmax()))
