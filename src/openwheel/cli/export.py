"""Exports a student in the forms that other software loads: ``openwheel export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import note, out, print_json, warn
from openwheel.errors import SettingError

if TYPE_CHECKING:
    from openwheel.export import Exported, Form, Source
    from openwheel.trust import Condition, Lineage, Policy

# Texts of the task that an export is tried on, taken from its newest exchanges.
_TEXTS, _RECENT = 8, 2_000


def export(
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDENT",
            help="A student's id or the start of it, or a folder with an adapter or a checkpoint.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", help="The folder to make.")],
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="adapter|merged|gguf|onnx",
            help="A PEFT adapter, base and adapter merged, a GGUF file, an encoder in ONNX.",
        ),
    ] = "adapter",
    precision: Annotated[
        str,
        typer.Option(
            help="Merged: bf16, fp16 or fp32. GGUF: bf16, f16, f32 or q8_0. By default bf16."
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(help="What it is called; by default its task's name, as licences ask.")
    ] = "",
    config: options.Config = None,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Export a student with its card and lineage, if its licences and the policy allow it."""
    from openwheel.trust import Policy

    chosen = _form(form)
    policy = Policy.of(options.settings_from(config))
    folder, lineage, texts = _find(student, db)
    try:
        from openwheel.export import default_name, papers_of, quiet, source_of
        from openwheel.export import export as run
    except ModuleNotFoundError as error:
        raise SettingError(
            "Exporting needs the extras `lm` and `export`: pip install 'openwheel[lm,export]' "
            f"({error})"
        ) from None

    source = source_of(folder, texts)
    made_of = lineage or _bare_lineage(student, source, policy)
    conditions = policy.may_export(made_of).require().conditions
    called = name or default_name(made_of, conditions)
    decision = policy.may_export(made_of, called).require()
    quiet()
    done = run(
        source,
        to,
        form=chosen,
        precision=precision,
        name=called,
        papers=lambda export: papers_of(export, made_of, conditions),
        license_id=", ".join(made_of.base.licences) if made_of.base else "",
    )
    if json:
        print_json(done)
        return
    for warning in decision.warnings:
        warn(warning)
    _print(done, conditions)


def _form(form: str) -> "Form":
    forms: tuple[Form, ...] = ("adapter", "merged", "gguf", "onnx")
    for candidate in forms:
        if form == candidate:
            return candidate
    raise SettingError(f"--as must be adapter, merged, gguf or onnx, was {form!r}")


def _find(student: str, db: str) -> tuple[Path, "Lineage | None", tuple[str, ...]]:
    """Return a student's folder, its lineage if one is kept, and some texts of its task."""
    if Path(student).is_dir():
        return Path(student), None, ()
    from openwheel.errors import RequestError
    from openwheel.loop.registry import Registry
    from openwheel.loop.turn.lineage import lineage_of
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        registry = Registry(store)
        lineage = lineage_of(registry, student)
        texts: list[str] = []
        after = max(0, store.last_seq() - _RECENT)
        for _, exchange in store.exchanges(after=after, task_id=lineage.task):
            try:
                messages = exchange.prompt().messages
            except RequestError:
                continue
            texts.append("\n".join([*(m.text for m in messages), exchange.answer.text]))
        candidate = registry.candidate(lineage.student)
        folder = registry.files.fetch(candidate.id, candidate.files)
        return folder, lineage, tuple(texts[-_TEXTS:])


def _bare_lineage(student: str, source: "Source", policy: "Policy") -> "Lineage":
    """Return what can be said of a folder that no store knows: its base."""
    from openwheel.trust import Base, Lineage

    terms = policy.terms_of_base(source.base)
    kind = "encoder" if source.encoder else "lm"
    base = Base(id=source.base, kind=kind, revision=source.revision, licences=terms.names)
    return Lineage(
        student=Path(student).resolve().name, task="", rung=kind, base=base, complete=False
    )


def _print(done: "Exported", conditions: "tuple[Condition, ...]") -> None:
    from openwheel.export import has_licence

    precision = f" in {done.precision}" if done.precision else ""
    out.print(
        f"{done.name} is exported as {done.form}{precision} to {done.folder} "
        f"({done.bytes / 1e6:,.1f} MB).",
        markup=False,
    )
    if done.agreement is not None:
        note(
            f"Its logits are {done.agreement.relative:.2%} of their spread from those of base and "
            f"adapter (at most {done.agreement.tolerance:.2%}), on {done.agreement.tokens} tokens."
        )
    for text in done.notes:
        note(text)
    for condition in conditions:
        if condition.about not in {"name", "licence"}:
            note(f"{condition.licence} asks: {condition.text}")
    if any(c.about == "licence" for c in conditions) and not has_licence(done):
        warn(
            "The licence asks that its text goes with what is passed on, and none lies beside the "
            "base: add it"
        )
