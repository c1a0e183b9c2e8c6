"""Writes what goes with an export: card, lineage, and what the licences want shown."""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from openwheel.export.run import Exported
from openwheel.trust import Condition, Lineage, licence_summary, model_card

_RELATION = {"merged": "finetune", "gguf": "quantized"}
_LIBRARY = {"merged": "transformers", "gguf": "gguf"}


def papers_of(
    done: Exported, lineage: Lineage, conditions: Sequence[Condition]
) -> Mapping[str, str]:
    """Return the texts that go with an export of a student, by file name."""
    papers = {
        "README.md": _card(done, lineage, conditions),
        "lineage.json": msgspec.json.format(msgspec.json.encode(lineage)).decode() + "\n",
    }
    if notices := [c.text for c in conditions if c.about == "notice"]:
        papers["NOTICE"] = "\n".join(dict.fromkeys(notices)) + "\n"
    return papers


def default_name(lineage: Lineage, conditions: Sequence[Condition]) -> str:
    """Return a name that the licences allow: what they ask it to begin with, then the task's."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", lineage.task_name or lineage.student).strip("-.")
    prefix = next((c.text for c in conditions if c.about == "name"), "")
    return f"{prefix}-{plain or 'student'}"[:128] if prefix else (plain or "student")[:128]


def _card(done: Exported, lineage: Lineage, conditions: Sequence[Condition]) -> str:
    """Return the student's card, changed to what was exported."""
    if not lineage.task:  # a folder that no store knows
        return _bare_card(done, lineage, conditions)
    card = model_card(lineage)
    front, _, body = card.partition("\n---\n")
    if done.form in _RELATION:
        front = front.replace(
            "base_model_relation: adapter", f"base_model_relation: {_RELATION[done.form]}"
        ).replace("library_name: peft", f"library_name: {_LIBRARY[done.form]}")
    body = re.sub(r"^# .*$", f"# {done.name}", body, count=1, flags=re.MULTILINE)
    lines = [*_notices(conditions), "", "## This export", "", *_exported(done)]
    return f"{front}\n---\n{body.rstrip()}\n" + "\n".join(lines) + "\n"


def _bare_card(done: Exported, lineage: Lineage, conditions: Sequence[Condition]) -> str:
    lines = [
        f"# {done.name}",
        "",
        f"Exported by Openwheel from the folder {lineage.student}. What trained it is not known "
        "here.",
        "",
        *(f"- {line}" for line in licence_summary(lineage)),
        *(f"- {c.licence} asks: {c.text}" for c in conditions if c.about not in {"notice"}),
        *_notices(conditions),
        "",
        "## This export",
        "",
        *_exported(done),
    ]
    return "\n".join(lines) + "\n"


def _notices(conditions: Sequence[Condition]) -> Iterator[str]:
    for text in dict.fromkeys(c.text for c in conditions if c.about == "notice"):
        yield f"\n{text}"


def _exported(done: Exported) -> Iterator[str]:
    precision = f", {done.precision}" if done.precision else ""
    yield f"- Form: {done.form}{precision}"
    if done.agreement is not None:
        near = done.agreement
        yield (
            f"- Merged weights against base and adapter, on {near.tokens} tokens of {near.texts} "
            f"texts: logits {near.relative:.2%} of their spread apart (at most "
            f"{near.tolerance:.2%}), the same likeliest token at {near.same_top:.1%}"
        )
    if done.gguf is not None:
        yield (
            f"- GGUF architecture {done.gguf.architecture}, tokenizer {done.gguf.tokenizer} "
            f"({done.gguf.pre_tokenizer}), {done.gguf.tensors} tensors, each read back and "
            "compared"
        )
    for note in done.notes:
        yield f"- {note}"
    if done.form == "onnx":
        yield (
            "- `encoder.onnx` takes `input_ids` of one text, shape (1, length), and gives its unit "
            "vector; the head that makes answers of vectors stays with Openwheel"
        )
    else:
        yield (
            "- Exported, it answers whatever it is asked: the threshold of its certificate, the "
            "audit and the teacher behind it stay with Openwheel"
        )
    for file, digest in done.files.items():
        yield f"- `{file}` sha256 `{digest}`"
