"""From a setting to a comparison."""

import msgspec

from openwheel.errors import SettingError
from openwheel.tasks.compare.comparison import Comparison
from openwheel.tasks.compare.embedding import EmbeddingComparison, Encoder
from openwheel.tasks.compare.exact import ExactComparison
from openwheel.tasks.compare.fields import FieldRules, FieldsComparison, read_rules
from openwheel.tasks.compare.rouge import RougeComparison
from openwheel.tasks.forms import FORMS, Form

KINDS = ("exact", "rouge", "embedding", "fields", "judge")
FOR_TEXT = ("rouge", "embedding", "judge")
_EXPECTED = (
    "exact, rouge:F, embedding:COSINE (F and COSINE above 0, at most 1), fields, fields:RULES or "
    "judge"
)


class Chosen(msgspec.Struct, frozen=True):
    """A comparison as the user chose it, before what it needs is there.

    Attributes:
        kind: One of `KINDS`.
        setting: As it was written.
        at_least: The limit of ``rouge`` and ``embedding``, else 0.
        rules: Those of ``fields``.
    """

    kind: str
    setting: str
    at_least: float = 0.0
    rules: FieldRules = FieldRules()


EXACT = Chosen("exact", "exact")


def read_comparison(setting: str) -> Chosen:
    """Read a setting such as ``rouge:0.7``.

    Raises:
        SettingError: There is no such comparison, or its limit is none.

    Examples:
        >>> read_comparison("rouge:0.7").at_least
        0.7
    """
    setting = setting.strip()
    kind, colon, rest = setting.partition(":")
    if kind == "fields":
        return Chosen(kind, setting, rules=read_rules(rest))
    if kind in ("rouge", "embedding"):
        try:
            limit = float(rest)
        except ValueError:
            limit = 0.0
        if 0 < limit <= 1:
            return Chosen(kind, setting, at_least=limit)
    elif kind in KINDS and not colon:
        return Chosen(kind, setting)
    raise SettingError(f"compare must be {_EXPECTED}; was {setting!r}")


def make_comparison(
    chosen: Chosen,
    form: Form,
    folds: tuple[str, ...] = (),
    *,
    encoder: Encoder | None = None,
    judge: Comparison | None = None,
) -> Comparison:
    """Return the comparison for a task whose answers have a form.

    Args:
        chosen: What the user chose.
        form: The form of the task's answers.
        folds: How these may differ and still be one; for ``exact`` and ``fields``.
        encoder: For ``embedding``.
        judge: For ``judge``.

    Raises:
        SettingError: It does not go with the form, or what it needs is not there.
    """
    if chosen.kind not in FORMS[form].comparisons | {"exact"}:
        takers = " or ".join(
            known.name for known in FORMS.values() if chosen.kind in known.comparisons
        )
        others = ", ".join(["exact", *sorted(FORMS[form].comparisons)])
        raise SettingError(
            f"compare = {chosen.setting!r} is for answers of the form {takers}; these are of the "
            f"form {form}, compared by {others}"
        )
    if chosen.kind == "rouge":
        return RougeComparison(chosen.at_least)
    if chosen.kind == "embedding":
        if encoder is None:
            raise SettingError(
                f"compare = {chosen.setting!r} needs a sentence encoder: set `encoder` in [loop]"
            )
        return EmbeddingComparison(chosen.at_least, encoder)
    if chosen.kind == "judge":
        if judge is None:
            raise SettingError("compare = 'judge' needs a teacher that can be asked, and has none")
        return judge
    if chosen.kind == "fields":
        return FieldsComparison(chosen.setting, chosen.rules, folds)
    return ExactComparison(form, folds)
