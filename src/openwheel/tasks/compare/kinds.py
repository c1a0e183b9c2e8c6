"""Makes a comparison from a setting."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.errors import SettingError
from openwheel.tasks.compare.comparison import Comparison, Given, Kind, no_parameter
from openwheel.tasks.compare.decisions import DIFFERENCE, SIDE, WITHIN
from openwheel.tasks.compare.embedding import EMBEDDING
from openwheel.tasks.compare.exact import EXACT_KIND
from openwheel.tasks.compare.fields import FieldsComparison
from openwheel.tasks.compare.order import ORDER
from openwheel.tasks.compare.rouge import ROUGE
from openwheel.tasks.forms import FORMS


def _judge(_setting: str, _parameter: None, context: Given) -> Comparison:
    if context.judge is None:
        raise SettingError("compare = 'judge' needs a teacher that can be asked, and has none")
    return context.judge


JUDGE = Kind("judge", "judge", no_parameter, _judge)
"""The judge itself asks a teacher: `openwheel.loop.judging`."""

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (EXACT_KIND, ROUGE, EMBEDDING, ORDER, SIDE, WITHIN, DIFFERENCE, JUDGE)
    }
)
"""All kinds by name. A new one is registered here, and with the forms that it is for."""


class Chosen(msgspec.Struct, frozen=True):
    """A comparison as the user chose it, before its resources are there.

    Attributes:
        kind: A key of `KINDS`.
        setting: As it was written.
        parameter: The parameter after the colon, as its kind read it.
    """

    kind: str
    setting: str
    parameter: Any = None


EXACT = Chosen("exact", "exact")


def read_comparison(setting: str) -> Chosen:
    """Read a setting such as ``rouge:0.7``.

    Raises:
        SettingError: There is no such comparison, or its parameter is not valid.

    Examples:
        >>> read_comparison("rouge:0.7").parameter
        0.7
    """
    setting = setting.strip()
    name, colon, rest = setting.partition(":")
    if name in KINDS and bool(colon) <= bool(rest.strip()):
        try:
            return Chosen(name, setting, KINDS[name].read(rest))
        except ValueError:
            pass
    *others, last = [kind.written for kind in KINDS.values()]
    raise SettingError(f"compare must be {', '.join(others)} or {last}; was {setting!r}")


def make_comparison(chosen: Chosen, context: Given) -> Comparison:
    """Return the comparison for a task, given the form of its answers and the resources.

    Raises:
        SettingError: It does not suit the form, or a resource is missing.
    """
    form = FORMS[context.form]
    if not context.by_field.plain:
        return _by_field(chosen, context)
    if chosen.kind not in form.comparisons | {"exact"}:
        takers = " or ".join(
            candidate.name for candidate in FORMS.values() if chosen.kind in candidate.comparisons
        )
        raise SettingError(
            f"compare = {chosen.setting!r} is for answers of the form {takers}; these are of the "
            f"form {form.name}, compared by {', '.join(['exact', *sorted(form.comparisons)])}"
        )
    return KINDS[chosen.kind].make(chosen.setting, chosen.parameter, context)


def _by_field(chosen: Chosen, context: Given) -> FieldsComparison:
    if chosen.kind != EXACT.kind:
        raise SettingError(
            "loss and fields compare answers field by field, and compare = "
            f"{chosen.setting!r} compares whole ones: choose one of these"
        )
    if not FORMS[context.form].has_fields:
        takers = " or ".join(form.name for form in FORMS.values() if form.has_fields)
        raise SettingError(
            f"loss = 'fields' and fields are for answers of the form {takers}; these are of the "
            f"form {context.form}"
        )
    return FieldsComparison(context.by_field, context.folds)
