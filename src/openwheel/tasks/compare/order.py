"""Compares calls of tools in their order, for applications that make one after the other."""

from collections.abc import Sequence

from openwheel.tasks.compare.comparison import Kind, Pair, fingerprint_of, no_parameter
from openwheel.tasks.forms import Form, canonical_answer
from openwheel.tasks.forms.call import canonical_calls


class OrderComparison:
    """Two answers agree if their calls are equal one by one."""

    setting = "order"
    bounded = False
    equality = False
    free = True

    def __init__(self, form: Form) -> None:
        """Compare answers of one form."""
        self.form = form
        self.fingerprint = fingerprint_of("order", form)

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return 0.0 for equal answers, 1.0 for others."""
        return [float(not self._equal(pair)) for pair in pairs]

    def _equal(self, pair: Pair) -> bool:
        calls = pair.teacher.tool_calls, pair.student.tool_calls
        if all(calls):
            one, other = (canonical_calls(each, ordered=True) for each in calls)
        else:
            one, other = (
                canonical_answer(answer, self.form) for answer in (pair.teacher, pair.student)
            )
        return one == other


ORDER = Kind(
    "order", "order", no_parameter, lambda _setting, _parameter, given: OrderComparison(given.form)
)
