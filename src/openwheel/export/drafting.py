"""Making a draft: from captured answers to a folder that engines load."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from openwheel.engine.base import load_base
from openwheel.errors import ModelError
from openwheel.export.draft import DraftRecord, write_draft
from openwheel.export.draft_papers import draft_lineage, draft_papers
from openwheel.export.papers import default_name
from openwheel.students.draft import (
    Captured,
    DraftSettings,
    Origin,
    check_same_tokenizer,
    encode_captured,
    fit_vocabulary,
    load_target_tokenizer,
    shrink,
    target_rows,
    train_draft,
)
from openwheel.trust import Policy


class DraftOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What draft is wanted.

    Attributes:
        target: The model that is hosted: a folder or a hub id.
        target_revision: With a hub id: its commit.
        start: A small checkpoint to train from; ``""`` with ``layers``.
        revision: With a hub id as start: its commit.
        layers: How many of the target's first layers to train from; 0 with ``start``.
        probabilities: Whether to load the target and learn from its probabilities too.
        precision: ``bf16``, ``fp16`` or ``fp32``, of the weights that are written.
        name: What it is called; ``""`` for its task's name, as licences ask.
        device: A torch device, or ``auto``.
        settings: How it is trained.
    """

    target: str
    target_revision: str = ""
    start: str = ""
    revision: str = ""
    layers: int = 0
    probabilities: bool = False
    precision: str = "bf16"
    name: str = ""
    device: str = "auto"
    settings: DraftSettings = DraftSettings()


class Drafted(msgspec.Struct, frozen=True, kw_only=True):
    """A draft that was made: its name, its folder and what it is."""

    name: str
    folder: str
    draft: DraftRecord


def make_draft(
    order: DraftOrder,
    folder: Path,
    captured: Sequence[Captured],
    *,
    task: tuple[str, str],
    origin: Origin,
    policy: Policy,
    tell: Callable[[str], None] = lambda _: None,
) -> Drafted:
    """Train a draft, measure it before and after, and write it with its card and lineage.

    Args:
        order: What is wanted.
        folder: Where to; must not exist, or be empty.
        captured: The target's answers, oldest first.
        task: The task's id and name.
        origin: Whose answers they are.
        policy: It has a veto on learning from them, on training the start, and on the export.
        tell: Told about each epoch, in a line.

    Raises:
        ModelError: The tokenizers differ, there are too few answers, or something cannot be
            loaded, trained or written.
        PolicyError: A licence or the policy forbids it.
    """
    if bool(order.start) == bool(order.layers):
        raise ModelError(
            "A draft is trained from a checkpoint or from its target's first layers: one of them "
            "must be given"
        )
    made_of = draft_lineage(
        policy,
        name=order.name or f"{task[1]}-draft",
        task=task,
        base=(order.start or order.target, order.revision or order.target_revision),
        taught=origin,
        exchanges=len(captured),
    )
    policy.may_learn_from(*origin).require()
    policy.may_train(order.start or order.target).require()
    conditions = policy.may_export(made_of).require().conditions
    name = order.name or f"{default_name(made_of, conditions)}-draft".replace(
        "-draft-draft", "-draft"
    )
    policy.may_export(made_of, name).require()

    tokenizer = load_target_tokenizer(order.target, revision=order.target_revision)
    draft, target = _models(order, tokenizer)
    examples = encode_captured(tokenizer, captured, context=order.settings.context)
    report = train_draft(
        draft,
        examples,
        order.settings,
        target=target if order.probabilities else None,
        dropped=len(captured) - len(examples),
        tell=tell,
    )
    record = DraftRecord(
        target=order.target,
        start=order.start or f"the first {order.layers} layers of {order.target}",
        parameters=sum(weight.numel() for weight in draft.parameters()),
        report=report,
    )
    lineage = msgspec.structs.replace(
        made_of,
        student=name,
        taught_by=tuple(
            msgspec.structs.replace(taught, exchanges=report.trained_on)
            for taught in made_of.taught_by
        ),
    )
    papers = draft_papers(record, lineage, conditions)
    write_draft(draft, tokenizer, folder, record=record, precision=order.precision, papers=papers)
    return Drafted(name=name, folder=str(folder), draft=record)


def _models(order: DraftOrder, tokenizer: Any) -> tuple[Any, Any]:
    """Return the draft to train, and the target if it is needed here."""
    target = None
    if order.layers or order.probabilities:
        target = load_base(order.target, revision=order.target_revision, device=order.device).model
    if order.layers:
        return shrink(target, order.layers).float(), target
    base = load_base(order.start, revision=order.revision, precision="float32", device=order.device)
    check_same_tokenizer(base.tokenizer, tokenizer, names=(order.start, order.target))
    rows = target_rows(order.target, revision=order.target_revision)
    fit_vocabulary(base.model, rows, len(tokenizer))
    return base.model, target
