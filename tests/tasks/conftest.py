"""Synthetic logs: texts that look written, from a few hundred made-up words."""

import random
from collections.abc import Callable

import pytest

from openwheel.wire import Answer, Prompt, PromptMessage

SYLLABLES = ["ka", "lo", "mi", "ren", "tas", "vu", "ber", "shi", "pon", "del", "gra", "ne"]


class Texts:
    """Draws messages of common and rare words, each with a label that its words give away."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        words = {
            "".join(self.rng.choices(SYLLABLES, k=k)) for k in (1, 2, 2, 3) for _ in range(150)
        }
        self.words = sorted(words)
        self.rng.shuffle(self.words)
        self.weights = [1 / (rank + 1) for rank in range(len(self.words))]

    def text(self, low: int = 4, high: int = 25) -> str:
        drawn = self.rng.choices(self.words, self.weights, k=self.rng.randint(low, high))
        return " ".join(drawn) + self.rng.choice(["", ".", "?", "!"])

    def answer(self, text: str, labels: list[str]) -> Answer:
        return Answer(labels[sum(map(ord, text.split(maxsplit=1)[0])) % len(labels)])


def chat(*messages: tuple[str, str], tools: str = "", response_format: str = "") -> Prompt:
    return Prompt(tuple(PromptMessage(r, t) for r, t in messages), tools, response_format)


@pytest.fixture
def texts() -> Texts:
    return Texts(7)


@pytest.fixture
def prompt() -> Callable[..., Prompt]:
    return chat
