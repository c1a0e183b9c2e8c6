"""Comparison by equality, as the form of the answers has it."""

from collections.abc import Sequence

from openwheel.tasks.compare.comparison import Pair, fingerprint_of
from openwheel.tasks.forms import Form, canonical_answer


class ExactComparison:
    """Two answers agree if they are equal; see `canonical_answer`."""

    setting = "exact"
    bounded = False

    def __init__(self, form: Form) -> None:
        """Compare answers of one form."""
        self.form = form
        self.fingerprint = fingerprint_of("exact", form)

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return 0.0 for equal answers, 1.0 for others."""
        return [float(not equal(pair, self.form)) for pair in pairs]


def equal(pair: Pair, form: Form) -> bool:
    """Whether two answers are equal in the sense of their form."""
    return canonical_answer(pair.teacher, form) == canonical_answer(pair.student, form)


def settled(pair: Pair) -> float | None:
    """Return the loss of two texts that need no closer look, else None.

    Equal texts agree. A call of a tool is no text: it agrees with an equal call alone.
    """
    if equal(pair, "text"):
        return 0.0
    if pair.teacher.tool_calls or pair.student.tool_calls:
        return 1.0
    return None
