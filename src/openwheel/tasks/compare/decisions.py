"""Compares decisions by their probabilities: of a predicate, or of a score's levels."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from openwheel.errors import SettingError
from openwheel.tasks.compare.comparison import Given, Kind, Pair, fingerprint_of, no_parameter
from openwheel.wire import Answer, Question
from openwheel.wire.question import TRUE, expectation

_SCALED: Final = ("predicate", "score")


class DecisionComparison:
    """Two decisions differ by their numbers: the probability of true, or the mean of the levels.

    Args:
        setting: As the user writes it.
        question: A predicate or a score.
        loss: Returns the loss of two numbers, given the span of the score: its highest level, 1 for
            a predicate.
        bounded: Whether a loss may lie strictly between 0 and 1.
    """

    equality = False
    free = False

    def __init__(
        self,
        setting: str,
        question: Question,
        loss: Callable[[float, float, float], float],
        *,
        bounded: bool = False,
    ) -> None:
        self.setting = setting
        self.bounded = bounded
        self.fingerprint = fingerprint_of("decision", setting, question.type, len(question.answers))
        self._span = float(max(len(question.answers) - 1, 1))
        self._question = question
        self._loss = loss

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the loss of each pair; 1 where an answer is no decision."""
        losses = []
        for pair in pairs:
            teacher = number_of(pair.teacher, self._question)
            student = number_of(pair.student, self._question)
            if teacher is None or student is None:
                losses.append(1.0)
            else:
                losses.append(self._loss(teacher, student, self._span))
        return losses


def number_of(answer: Answer, question: Question) -> float | None:
    """Return the number that an answer to a predicate or a score is, None if it is none.

    An answer without probabilities is certain.

    >>> number_of(Answer("1", probabilities=(("0", 0.25), ("1", 0.75))), Question("score"))
    0.75
    """
    if question.type == "predicate":
        given = dict(answer.probabilities)
        if TRUE in given:
            return given[TRUE]
        return float(answer.text == TRUE) if answer.text in question.answers else None
    return expectation(answer.probabilities or ((answer.text, 1.0),))


def _threshold(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value


def _tolerance(text: str) -> float:
    value = float(text)
    if not 0 <= value < 255:
        raise ValueError(text)
    return value


def _question(setting: str, context: Given, types: Sequence[str]) -> Question:
    if context.question is not None and context.question.type in types:
        return context.question
    asked = "no typed question" if context.question is None else f"a {context.question.type}"
    raise SettingError(f"compare = {setting!r} is for a {' or a '.join(types)}; this is {asked}")


def _side(setting: str, threshold: float, context: Given) -> DecisionComparison:
    def loss(teacher: float, student: float, _span: float) -> float:
        return float((teacher >= threshold) != (student >= threshold))

    return DecisionComparison(setting, _question(setting, context, ("predicate",)), loss)


def _within(setting: str, tolerance: float, context: Given) -> DecisionComparison:
    def loss(teacher: float, student: float, _span: float) -> float:
        # A hair wider, since sums of probabilities are rounded.
        return float(abs(teacher - student) > tolerance + 1e-9)

    return DecisionComparison(setting, _question(setting, context, _SCALED), loss)


def _difference(setting: str, _parameter: Any, context: Given) -> DecisionComparison:
    def loss(teacher: float, student: float, span: float) -> float:
        return min(abs(teacher - student) / span, 1.0)

    return DecisionComparison(setting, _question(setting, context, _SCALED), loss, bounded=True)


SIDE = Kind("side", "side:THRESHOLD (above 0, below 1)", _threshold, _side)
WITHIN = Kind("within", "within:TOLERANCE (0 or more)", _tolerance, _within)
DIFFERENCE = Kind("difference", "difference", no_parameter, _difference)

HALF_A_LEVEL: Final = "within:0.5"
"""How scores are compared by default."""
