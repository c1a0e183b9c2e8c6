"""Writes a lineage as a model card, with the front matter that the Hugging Face hub reads."""

import datetime
from collections.abc import Iterator

import msgspec

from openwheel.trust.lineage import Lineage
from openwheel.trust.terms import UNKNOWN

# Source: the hub's documentation, "Licenses": its identifiers are lower case, and it has its own
# for some that SPDX does not know.
_HUB = {
    "LicenseRef-Llama-3.1": "llama3.1",
    "LicenseRef-Llama-3.2": "llama3.2",
    "LicenseRef-Llama-3.3": "llama3.3",
    "LicenseRef-Llama-4": "llama4",
    "LicenseRef-Gemma": "gemma",
}


def model_card(lineage: Lineage) -> str:
    """Return a student's model card."""
    return "\n".join([*_front_matter(lineage), "", *_body(lineage)]) + "\n"


def inherited_licences(lineage: Lineage) -> tuple[str, ...]:
    """Return ids of the licences that reach the student: its base's, and any with conditions."""
    base = lineage.base.licences if lineage.base is not None else ()
    asking = (condition.licence for condition in lineage.conditions)
    return tuple(dict.fromkeys([*base, *asking]))


def _front_matter(lineage: Lineage) -> Iterator[str]:
    yield "---"
    licences = inherited_licences(lineage)
    if len(licences) == 1 and licences[0] != UNKNOWN:
        (licence,) = licences
        if not licence.startswith("LicenseRef-") or licence in _HUB:
            yield f"license: {_text(_HUB.get(licence, licence.lower()))}"
        else:
            yield "license: other"
            yield f"license_name: {_text(licence.removeprefix('LicenseRef-').lower())}"
    elif licences:
        yield "license: other"
        yield f"license_name: {_text(' and '.join(licences))}"
    if lineage.base is not None:
        yield f"base_model: {_text(lineage.base.id)}"
        if lineage.base.kind == "lm":
            yield "base_model_relation: adapter"
            yield "library_name: peft"
    yield "tags:"
    for tag in ("openwheel", "distillation", f"openwheel-{lineage.rung}"):
        yield f"- {tag}"
    yield "---"


def _body(lineage: Lineage) -> Iterator[str]:
    yield f"# {lineage.student}"
    yield ""
    task = lineage.task_name or lineage.task
    yield (
        f"A student of the rung {lineage.rung} for the task {task!r}, trained by Openwheel on a "
        "teacher's answers. It answers that task and nothing else, and only where its confidence "
        "is at least its certified threshold."
    )
    if not lineage.complete:
        yield ""
        yield "What it was made of was not kept: it is from before there were lineages."
    yield from _section("What it is made of", _made_of(lineage))
    yield from _section("What the licences ask", _asked(lineage))
    yield from _section("What it was certified for", _certified(lineage))
    yield from _section("What the policy decided", _decided(lineage))
    yield from _section("Files", (f"- `{n}` sha256 `{h}`" for n, h in lineage.files.items()))
    yield ""
    yield (
        "Agreement is with the teacher, not with the truth: where the teacher is wrong, so is the "
        "student. The same in a form for machines: `lineage.json`, or "
        f"`openwheel lineage {lineage.student} --json`."
    )


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    content = list(lines)
    if content:
        yield from ["", f"## {title}", "", *content]


def _made_of(lineage: Lineage) -> Iterator[str]:
    if lineage.base is not None:
        base = lineage.base
        pinned = f" at `{base.revision}`" if base.revision else ""
        tuned = ", its weights tuned" if base.tuned else ""
        yield f"- Base: {base.id}{pinned}{tuned}; {_licences(base.licences)}"
    elif lineage.complete:
        yield "- Base: none, it was trained from nothing"
    for taught in lineage.taught_by:
        model = f", model {taught.model}" if taught.model else ""
        checkpoint = f" ({taught.checkpoint})" if taught.checkpoint else ""
        words = f"; terms: {taught.terms}" if taught.terms else ""
        yield (
            f"- Answers: {taught.exchanges:,} of teacher {taught.teacher or '(a log)'}{model}"
            f"{checkpoint}; {_licences(taught.licences)}{words}"
        )
    if lineage.training is not None:
        window = lineage.training
        span = ""
        if window.first_time:
            span = f", from {_day(window.first_time)} to {_day(window.last_time)}"
        yield f"- Training data: {window.exchanges:,} exchanges{span}; sha256 `{window.sha256}`"
    for excluded in lineage.left_out:
        source = " ".join(filter(None, [excluded.teacher or "a log", excluded.model]))
        yield f"- Left out: {excluded.exchanges:,} answers of {source}: {excluded.reason}"


def _asked(lineage: Lineage) -> Iterator[str]:
    for condition in lineage.conditions:
        text = condition.text
        if condition.about == "name":
            text = f"The name begins with {text!r}"
        yield f"- {text} ({condition.licence})"


def _certified(lineage: Lineage) -> Iterator[str]:
    for certificate in lineage.certificates:
        yield (
            f"- `{certificate.id[:12]}` of {certificate.created}: coverage "
            f"{certificate.coverage:.1%}, disagreement at most {certificate.bound:.2%} (limit "
            f"{certificate.epsilon:.2%}, risk {certificate.delta:.2%}). {certificate.statement}"
        )


def _decided(lineage: Lineage) -> Iterator[str]:
    for decision in lineage.decisions:
        yield f"- {decision}"
        for warning in decision.warnings:
            yield f"  - {warning}"
    for name, written in lineage.overrides.items():
        yield f"- Written permission for {name}: {written}"


def _licences(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "licence not known"


def _text(value: str) -> str:
    """Return a text as YAML, which JSON's strings are."""
    return msgspec.json.encode(value).decode()


def _day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()
