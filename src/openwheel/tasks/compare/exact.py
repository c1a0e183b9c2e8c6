"""Compares answers by equality of their canonical forms."""

from collections.abc import Sequence

from openwheel.tasks.compare.comparison import Kind, Pair, fingerprint_of, no_parameter
from openwheel.tasks.folds import VERSION
from openwheel.tasks.forms import Form, canonical_answer


class ExactComparison:
    """Two answers agree if they are equal; see `canonical_answer`."""

    bounded = False
    equality = True
    free = True

    def __init__(self, form: Form, folds: tuple[str, ...] = ()) -> None:
        """Compare answers of one form, after folds."""
        self.form = form
        self.folds = folds
        self.setting = with_folds("exact", folds)
        self.fingerprint = fingerprint_of("exact", form, *versioned(folds))

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return 0.0 for equal answers, 1.0 for others."""
        return [float(not equal(pair, self.form, self.folds)) for pair in pairs]


EXACT_KIND = Kind(
    "exact",
    "exact",
    no_parameter,
    lambda _setting, _parameter, context: ExactComparison(context.form, context.folds),
    folds=True,
)


def equal(pair: Pair, form: Form, folds: tuple[str, ...] = ()) -> bool:
    """Whether two answers are equal in the sense of their form and folds."""
    return canonical_answer(pair.teacher, form, folds) == (
        canonical_answer(pair.student, form, folds)
    )


def with_folds(setting: str, folds: tuple[str, ...]) -> str:
    """Return a comparison's setting with its folds."""
    return f"{setting} after {', '.join(folds)}" if folds else setting


def versioned(folds: tuple[str, ...]) -> tuple[object, ...]:
    """Return the folds with their version, for a fingerprint; nothing without folds."""
    return (VERSION, folds) if folds else ()


def settled(pair: Pair) -> float | None:
    """Return the loss of two texts that is known without comparing words, else None.

    Equal texts agree. A call of a tool is no text: it agrees with an equal call alone.
    """
    if equal(pair, "text"):
        return 0.0
    if pair.teacher.tool_calls or pair.student.tool_calls:
        return 1.0
    return None
