"""Measures the evidence that prompts are a task: constant text, and the kind of answers."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openwheel.tasks.forms import record_of
from openwheel.tasks.template import Part, Parts, Template
from openwheel.tasks.tokens import split, volatile
from openwheel.wire import Answer

# The weight of constant text a group must add (words of running text, see `text_weight`):
ALONE = 12.0  # in any place
PROGRAMMED = 3.5  # where what is around it shows that a program wrote it
INSTEAD = 3.0  # where it replaces a variable between constants, as two questions may
MOST_VALUES = 20  # of a variable that is an instruction


class Added:
    """The constant text that the template of some prompts has and the template of all has not.

    Attributes:
        weight: The amount of constant text, in words of running text.
        edge: Whether some of it starts or ends a part.
        by_program: Whether it is in a part that programs write, or separated from the variable as
            programs do it.
        fixed_message: Whether the message has no variable left: a command, or a repeated input.
        value: Whether nearly all of it is the value of a variable between constants.
        ends_only: Whether all of it is the end of a message, as a signature may be.
    """

    def __init__(
        self, part: Template, whole: Template, sample: Sequence[Parts], elsewhere: Sequence[Parts]
    ) -> None:
        self.weight = closed = 0.0
        self.edge = self.by_program = self.fixed_message = self.ends_only = False
        for number, (mine, outer) in enumerate(zip(part.parts, whole.parts, strict=True)):
            more = part_weight(mine) - part_weight(outer)
            # Conversations share small talk; examples given as turns are fixed.
            if more <= 0 or (number in (1, 3) and mine.variables and more < ALONE):
                continue
            self.weight += more
            first = len(mine.literals[0]) > len(outer.literals[0])
            last = len(mine.literals[-1]) > len(outer.literals[-1])
            self.edge |= first or last
            self.by_program |= number != 2
            if number == 2 and not mine.variables:
                self.fixed_message = True
                continue
            if first:
                self.by_program |= mine.literals[0].rstrip(" \t")[-1:] in _OPENS
            if last:
                end = mine.literals[-1]
                set_off = end[:1] == "\n" and text_weight(end) >= PROGRAMMED
                self.by_program |= end.rstrip()[-1:] in tuple(":`>=]}：")
                at_end = text_weight(end) - text_weight(outer.literals[-1])
                self.ends_only = set_off and not self.by_program and more - at_end < 0.4
                self.by_program |= set_off
            texts = [parts[number] for parts in sample]
            before = [parts[number] for parts in elsewhere]
            if number in (1, 3) or (
                part_weight(outer) >= 1
                and (
                    _varying(mine, texts, 2) < outer.variables
                    or _varying(mine, texts, 6) < _varying(outer, before, 6)
                )
            ):
                closed += more
        self.value = closed > 0 and self.weight - closed < INSTEAD


_OPENS = tuple("\n:\"'`>}])|=-：」")  # what stands before an input that a program put in
_TURN = re.compile(r"<(?:user|assistant|system|developer|tool|function)>\n")


def many_values(values: Sequence[str]) -> bool:
    """Whether a variable has more values than there are instructions, most of them repeated."""
    counts = Counter(values).most_common()
    top = sum(times for _, times in counts[:MOST_VALUES])
    repeated = sum(times for _, times in counts if times > 1)
    return top < 0.97 * len(values) and repeated > 0.8 * len(values)


def variable_columns(part: Part, texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the values of each variable of a part in those texts that fit it."""
    values = [value for text in texts if (value := part.match(text)) is not None]
    return list(zip(*values, strict=True))


def _varying(part: Part, texts: Sequence[str], least: int) -> int:
    """Return how many variables of a part take at least so many values in some texts."""
    return sum(1 for column in variable_columns(part, texts) if len(set(column)) >= least)


def part_weight(part: Part) -> float:
    """Return the weight of a part's constant text, the marks of turns aside."""
    return sum(text_weight(_TURN.sub("", literal)) for literal in part.literals)


def text_weight(text: str) -> float:
    """Return the weight of a text as an instruction: words of running text count most.

    Names and numbers count less, since a variable with few values is made of them.
    """
    total = 0.0
    for token in split(text):
        bare = token.strip()
        if not bare or volatile(token):
            continue
        if not any(c.isalpha() for c in bare):
            total += 0.2
        elif bare[0].islower():
            total += 1.0
        elif len(bare) == 1 and not bare.isupper():
            total += 0.6  # a character of a script without spaces or case
        else:
            total += 0.5
    return total


def answer_symbols(
    answers: Sequence[Answer],
    repeats: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return up to four symbols with weights for each answer, and which answers are labels.

    A short answer that occurs again is a label, and a record is its keys. Of other answers only the
    kind counts: text, record or tool call.
    """
    kinds = {"text": 0, "tool_call": 1, "record": 2}
    seen: dict[str, int] = {}
    for answer, times in zip(answers, repeats, strict=True):
        if not answer.tool_calls and len(answer.final) <= 120:
            label = answer.final.strip()
            seen[label] = seen.get(label, 0) + times
    numbers: dict[str, int] = {}
    symbols = np.zeros((len(answers), 4), np.int64)
    weights = np.zeros((len(answers), 4))
    for row, answer in enumerate(answers):
        names: list[int] = []
        if answer.tool_calls:
            names = [kinds["tool_call"]]
        else:
            label = answer.final.strip()
            if label[:1] in ("{", "`") and (record := record_of(answer)) is not None:
                keys = sorted(record)[:4]
                names = [numbers.setdefault(f"key {key}", len(numbers) + 3) for key in keys]
                names = names or [kinds["record"]]
            elif seen.get(label, 0) >= 2:
                names = [numbers.setdefault(f"label {label}", len(numbers) + 3)]
            else:
                names = [kinds["text"]]
        symbols[row, : len(names)] = names
        weights[row, : len(names)] = 1 / len(names)
    varied = np.ones(len(numbers) + 3, bool)
    varied[:3] = False
    return symbols, weights, varied
