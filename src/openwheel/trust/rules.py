"""Finds the objections of a licence to a use, under the operator's settings."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from openwheel.catalog import Licence, Threshold
from openwheel.settings import PolicySection
from openwheel.trust.decision import Condition, Point
from openwheel.trust.places import overlap
from openwheel.trust.terms import UNKNOWN

Role = Literal["teacher", "base"]

PROPERTIES = {
    "spdx": "SPDX knows it",
    "custom": "SPDX does not know it",
    "non-commercial": "it is for non-commercial use only, or asks for an authorisation first",
    "no-training": "its answers may not train other models",
    "regional": "it excludes regions",
    "thresholds": "it asks for more above a size",
    "named": "derivatives must carry a name or a notice",
}

_OVERRIDE = (
    "or put the permission that you have in writing under [policy.overrides] in openwheel.toml"
)
_MEASURES = {
    "daily_users": "users a day",
    "monthly_users": "users a month",
    "monthly_revenue": "dollars of revenue a month",
    "annual_revenue": "dollars of revenue a year",
}
_THEN = {
    "display": "the model's name is to be shown",
    "licence": "a licence is needed first",
    "forbidden": "it gives no rights",
    "review": "a review by its publisher is needed first",
}


class Objection(msgspec.Struct, frozen=True):
    """An objection of a licence to a use: the reason, the clause, its source, a remedy.

    A written permission lifts ``mendable`` objections; those of the operator's own lists stay.
    """

    reason: str
    remedy: str
    clause: str = ""
    source: str = ""
    mendable: bool = True


def has(licence: Licence, property_name: str) -> bool:
    """Return whether a licence has a property, or an id that fits a pattern with wildcards."""
    if property_name not in PROPERTIES:
        return fnmatchcase(licence.id.lower(), property_name.lower())
    custom = licence.id.startswith("LicenseRef-")
    return {
        "spdx": not custom,
        "custom": custom,
        "non-commercial": licence.non_commercial,
        "no-training": licence.outputs_may_train == "no",
        "regional": bool(licence.excluded_regions),
        "thresholds": bool(licence.thresholds),
        "named": bool(licence.derivative_name or licence.notice),
    }[property_name]


def objections(
    licence: Licence, role: Role, point: Point, policy: PolicySection
) -> Iterator[Objection]:
    """Yield a licence's objections to a use of its model as a teacher or a base, gravest first."""
    yield from _listed(licence, policy)
    yield from _on_training(licence, role, point)
    yield from _on_regions(licence, policy)
    yield from _on_commerce(licence, point, policy)
    for threshold in licence.thresholds:
        unsaid = threshold.business == "models" and policy.sells_models is None
        if unsaid and point == "send":
            continue
        if threshold.then != "display" and _reached(threshold, policy):
            yield _objection(
                licence,
                f"{licence.id} sets a limit at {_size(threshold)}: {_THEN[threshold.then]}",
                ("revenue", "users", "commercial"),
                "Say under [policy] what holds for you (yearly_revenue, monthly_users, "
                f"sells_models), {_OVERRIDE}",
            )


def conditions(
    licence: Licence, role: Role, point: Point, policy: PolicySection
) -> Iterator[Condition]:
    """Yield the conditions of a licence that allows the use.

    Of a teacher's licence only the conditions for models that learn from its answers; none if it
    says that answers are free.
    """
    reaches = licence.outputs_may_train == "conditional" or licence.distillate_is_derivative
    if point == "send" or role == "base" or reaches:
        yield from _asked_of_use(licence, policy)
    if point == "send" or not (role == "base" or reaches):
        return
    if licence.derivative_name:
        yield Condition("name", licence.derivative_name, licence.id)
    if licence.notice:
        yield Condition("notice", licence.notice, licence.id)
    if licence.ship_licence:
        yield Condition("licence", f"Ship the text of {licence.name}", licence.id)
    if licence.clause("use"):
        yield Condition("use", licence.clause("use"), licence.id)


def warnings(licence: Licence, role: Role, point: Point, policy: PolicySection) -> Iterator[str]:
    """Yield the warnings of a licence that allows the use."""
    if licence.non_commercial and policy.use is None:
        yield (
            f"{licence.id} is for non-commercial use only, or asks for an authorisation first; say "
            "under [policy] which `use` you make of models"
        )
    for threshold in licence.thresholds:
        if threshold.above == 0 and policy.sells_models is None and point == "send":
            yield (
                f"{licence.id} at {_size(threshold)}: {_THEN[threshold.then]}; say `sells_models` "
                "under [policy]"
            )
    if licence.excluded_regions and not policy.regions:
        yield (
            f"{licence.id} does not apply in {', '.join(licence.excluded_regions)}; say under "
            "[policy] in which `regions` you operate"
        )
    if point != "send" and role == "teacher" and licence.outputs_may_train == "conditional":
        clause = licence.clause("outputs") or licence.notes
        yield f"{licence.id} lets its answers train other models under conditions: {clause}"


def silence(licence: Licence, role: Role, point: Point) -> str:
    """Return the missing facts of a licence that matter here, ``""`` if there are none."""
    if licence.id == UNKNOWN:
        return "its licence is not known"
    if role == "teacher" and point != "send" and licence.outputs_may_train == "unknown":
        return f"whether {licence.id} lets answers train other models is not known"
    if role == "base" and licence.derivatives == "unknown":
        return f"whether {licence.id} allows derivatives is not known"
    return ""


def _listed(licence: Licence, policy: PolicySection) -> Iterator[Objection]:
    for pattern in policy.forbidden_licences:
        if has(licence, pattern):
            yield Objection(
                f"{licence.id} is forbidden by `forbidden_licences` ({pattern})",
                "Change that list under [policy] in openwheel.toml if it may be",
                mendable=False,
            )
    if policy.licences and not any(has(licence, pattern) for pattern in policy.licences):
        yield Objection(
            f"{licence.id} is not among the `licences` allowed",
            "Add it to that list under [policy] in openwheel.toml if it may be",
            mendable=False,
        )


def _on_training(licence: Licence, role: Role, point: Point) -> Iterator[Objection]:
    if point == "send":
        return
    if role == "teacher" and licence.outputs_may_train == "no":
        yield _objection(
            licence,
            f"{licence.id} forbids that its answers train other models",
            ("outputs", "derivatives"),
            f"Learn from another teacher, {_OVERRIDE}",
        )
    if role == "base" and licence.derivatives == "no":
        yield _objection(
            licence,
            f"{licence.id} allows no derivatives",
            ("derivatives",),
            f"Use another checkpoint, {_OVERRIDE}",
        )


def _on_regions(licence: Licence, policy: PolicySection) -> Iterator[Objection]:
    excluded = overlap(policy.regions, licence.excluded_regions)
    if excluded:
        yield _objection(
            licence,
            f"{licence.id} does not apply in {', '.join(excluded)}, where you operate",
            ("regions",),
            f"Use another model there, {_OVERRIDE}",
        )


def _on_commerce(licence: Licence, point: Point, policy: PolicySection) -> Iterator[Objection]:
    if not licence.non_commercial or policy.use == "non-commercial":
        return
    if policy.use is None and point == "send":
        return
    reason = "use is commercial" if policy.use else "nothing says that your use is not commercial"
    yield _objection(
        licence,
        f"{licence.id} allows no commercial use without an authorisation, and {reason}",
        ("commercial",),
        f'Say use = "non-commercial" under [policy] if so it is, {_OVERRIDE}',
    )


def _asked_of_use(licence: Licence, policy: PolicySection) -> Iterator[Condition]:
    if licence.non_commercial:
        yield Condition("use", "Non-commercial use only", licence.id)
    if licence.excluded_regions:
        places = ", ".join(licence.excluded_regions)
        yield Condition("region", f"Not in {places}", licence.id)
    for threshold in licence.thresholds:
        about: Literal["display", "size"] = "size"
        if threshold.then == "display" and _reached(threshold, policy):
            about = "display"
        yield Condition(about, f"At {_size(threshold)}: {_THEN[threshold.then]}", licence.id)


def _reached(threshold: Threshold, policy: PolicySection) -> bool:
    if threshold.business == "models" and policy.sells_models is False:
        return False
    if threshold.above == 0:
        return True
    revenue = policy.yearly_revenue
    size: float | None = {
        "annual_revenue": revenue,
        "monthly_revenue": None if revenue is None else revenue / 12,
        "monthly_users": policy.monthly_users,
        # No more are active in a day than in a month.
        "daily_users": policy.monthly_users,
    }[threshold.measure]
    return size is not None and size > threshold.above


def _size(threshold: Threshold) -> str:
    holders = f" ({threshold.who})" if threshold.who else ""
    if threshold.above == 0:
        return f"any size{holders}"
    return f"more than {threshold.above:,.0f} {_MEASURES[threshold.measure]}{holders}"


def _objection(licence: Licence, reason: str, about: Iterable[str], remedy: str) -> Objection:
    clause = next((c for matter in about for c in licence.clauses if c.about == matter), None)
    if clause is None:
        source = f"{licence.source}, confidence {licence.confidence}"
        return Objection(reason, remedy, licence.notes, source)
    source = f"{clause.source}, confidence {clause.confidence}"
    return Objection(reason, remedy, clause.text, source)
