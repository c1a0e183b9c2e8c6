"""Defines a typed question: what is asked, and the answers that there are, free of any API."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, TypeVar

import msgspec

from openwheel.errors import RequestError, TeacherError
from openwheel.wire.answer import Answer, Probabilities, Usage
from openwheel.wire.prompt import canonical_json

_Read = TypeVar("_Read")
_LONGEST_CACHED: Final = 8 << 10

QuestionType = Literal["predicate", "choice", "score", "other"]

MARK: Final = "decision:"
"""The start of a question as text. No response format of another API begins so: they are JSON."""

TRUE, FALSE = "true", "false"
SIDES: Final = 0.5
"""The probability from which a predicate is true."""

_DIGITS: Final = 6
_encoder = msgspec.json.Encoder()


class Question(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """One question about an input.

    Attributes:
        type: What is asked for: a probability, one of some choices, or a level. Only a teacher
            answers ``other``.
        instructions: Text, or JSON as it was sent.
        choices: Values and their descriptions: of a choice its choices, of a score its levels, of
            a predicate what is meant by true and by false, where that was said.
    """

    type: QuestionType
    instructions: Any = None
    choices: tuple[tuple[Any, Any], ...] = ()

    @property
    def text(self) -> str:
        """The question as text: equal texts are the same question."""
        return MARK + canonical_json(self)

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The answers that there are, as `openwheel.wire.Answer.text` has them."""
        if self.type == "predicate":
            return TRUE, FALSE
        if self.type == "score":
            return tuple(map(str, range(len(self.choices))))
        return tuple(text_of_value(value) for value, _ in self.choices)

    @property
    def described(self) -> str:
        """The question for people: its instructions, and its choices or levels, a line each."""
        asked = [json_text(self.instructions)] if self.instructions else []
        listed = [
            f"- {json_text(value)}{f': {json_text(meant)}' if meant else ''}"
            for value, meant in self.choices
        ]
        return "\n".join([*asked, *listed])

    @property
    def clear(self) -> bool:
        """Whether its answers can be told apart by their texts."""
        folded = {unicodedata.normalize("NFC", text).strip() for text in self.answers}
        return self.type != "other" and len(folded) == len(self.answers) > 0 and "" not in folded


_questions = msgspec.json.Decoder(Question)


def question_in(response_format: str) -> Question | None:
    """Return the question that a prompt's response format is, None if it is none.

    >>> question_in(Question("predicate", "Is it spam?").text).instructions
    'Is it spam?'
    """
    if not response_format.startswith(MARK):
        return None
    try:
        return _questions.decode(response_format.removeprefix(MARK))
    except msgspec.DecodeError:
        return None


def text_of_value(value: Any) -> str:
    """Return a choice's value as the text of an answer: a boolean as ``true`` or ``false``."""
    return value if isinstance(value, str) else canonical_json(value)


def predicate_answer(probability: float) -> Answer:
    """Return the answer that a predicate is true with a probability."""
    pairs = ((TRUE, probability), (FALSE, round(1 - probability, _DIGITS)))
    return Answer(TRUE if probability >= SIDES else FALSE, probabilities=pairs)


def score_answer(levels: Sequence[float]) -> Answer:
    """Return the answer that has these probabilities of the levels, from 0 on."""
    likeliest = max(range(len(levels)), key=levels.__getitem__)
    pairs = tuple((str(level), chance) for level, chance in enumerate(levels))
    return Answer(str(likeliest), probabilities=pairs)


def expectation(probabilities: Probabilities) -> float | None:
    """Return the mean of levels by their probabilities; None where some are no levels.

    >>> expectation((("0", 0.25), ("1", 0.75)))
    0.75
    """
    mean = total = 0.0
    for text, chance in probabilities:
        if not text.isdecimal():
            return None
        mean += int(text) * chance
        total += chance
    return mean / total if total > 0 else None


def chances_of(answer: Answer, question: Question) -> list[float]:
    """Return the probability of each of a question's answers, in their order.

    An answer without probabilities is certain. Whole numbers of millionths, as they are written.
    """
    given = dict(answer.probabilities) or {answer.text: 1.0}
    chances = [given.get(text, 0.0) for text in question.answers]
    total = sum(chances)
    if total > 0 and not given.keys() <= set(question.answers):
        chances = [chance / total for chance in chances]  # without answers there are no more
    return [round(chance, _DIGITS) for chance in chances]


def check_chance(value: Any) -> float:
    """Return a probability as it was sent.

    Raises:
        TeacherError: It is no number from 0 to 1.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise TeacherError(f"The answer has a probability that is no number from 0 to 1: {value!r}")


def check_distribution(chosen: str, pairs: Iterable[tuple[str, Any]]) -> Answer:
    """Return the answer that was chosen, with the probabilities of all.

    Raises:
        TeacherError: A probability is none, an answer comes twice, or the chosen one is not there.
    """
    probabilities = {text: check_chance(chance) for text, chance in pairs}
    if chosen not in probabilities:
        raise TeacherError(f"The answer is {chosen!r}, and has no probability of it")
    return Answer(chosen, probabilities=tuple(probabilities.items()))


def described(choices: Iterable[tuple[Any, Any]], what: str) -> tuple[tuple[Any, Any], ...]:
    """Return choices or levels, of which there must be one at least.

    Raises:
        RequestError: There is none.
    """
    listed = tuple(choices)
    if not listed:
        raise RequestError(f"A question has no {what}: at least one is needed")
    return listed


def joined_text(parts: Iterable[str]) -> str:
    """Return the texts of parts, a line each."""
    return "\n".join(parts)


def json_text(value: Any) -> str:
    """Return text as it is, and any other JSON with sorted keys and no spaces."""
    return value if isinstance(value, str) else canonical_json(value)


def usage_shares(usage: Usage | None, number: int) -> list[Usage | None]:
    """Return the share of a usage that each of some questions has; they add up to it.

    >>> usage_shares(Usage(7, 1), 2)
    [Usage(prompt_tokens=4, completion_tokens=1), Usage(prompt_tokens=3, completion_tokens=0)]
    """
    if usage is None:
        return [None] * number
    read, more_read = divmod(usage.prompt_tokens, number)
    written, more_written = divmod(usage.completion_tokens, number)
    return [Usage(read + (i < more_read), written + (i < more_written)) for i in range(number)]


def encode(value: Mapping[str, Any]) -> bytes:
    """Write a body."""
    return _encoder.encode(value)


def remembered(read: Callable[[bytes], _Read]) -> Callable[[msgspec.Raw], _Read]:
    """Return a reader of questions that keeps the latest: an application asks the same ones."""
    cached = lru_cache(maxsize=2_000)(read)

    def read_question(raw: msgspec.Raw) -> _Read:
        encoded = bytes(raw)
        return cached(encoded) if len(encoded) <= _LONGEST_CACHED else read(encoded)

    return read_question
