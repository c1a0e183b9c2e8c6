"""Defines the messages to and from the process that tunes an encoder on records."""

import msgspec

from openwheel.students.tokens.words import Spot
from openwheel.students.tune.order import TokenRecipe


class TokenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to the process.

    Attributes:
        folder: Where its files come.
        encoder: Hub id or folder of the encoder.
        texts: All texts, in order of arrival.
        words: Where the words of each text start and end.
        tags: The tag of each word; none for a text that is not learned from.
        tag_count: How many tags there are.
        labels: The answer of each text to each question, -1 where it teaches none.
        sizes: How many answers each question has.
        weights: Weight of each text.
        folds: The fold of each text: 0, 1 and so on.
        deadline_s: Seconds it may take; 0: no limit.
        recipe: How to train.
    """

    folder: str
    encoder: str
    texts: tuple[str, ...]
    words: tuple[tuple[Spot, ...], ...]
    tags: tuple[tuple[int, ...], ...]
    tag_count: int
    labels: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    folds: tuple[int, ...]
    deadline_s: float = 0.0
    recipe: TokenRecipe = TokenRecipe()


def scores_file(fold: int) -> str:
    """Return the name of the file with what a body that has not seen a fold says of its texts.

    It holds ``tags``, shape (words of the fold's texts, tags), and ``labels``, shape (texts of the
    fold, answers of all questions): logarithms of probabilities.
    """
    return f"scores-{fold}.safetensors"
