"""What goes with a draft: its card and its lineage."""

import datetime
from collections.abc import Mapping

import msgspec

from openwheel import __version__
from openwheel.export.draft import DraftRecord, draft_card
from openwheel.trust import Base, Condition, Lineage, Policy, TaughtBy, licence_summary


def draft_lineage(
    policy: Policy,
    *,
    name: str,
    task: tuple[str, str],
    base: tuple[str, str],
    taught: tuple[str, str],
    exchanges: int,
) -> Lineage:
    """Write down what a draft was made of.

    Args:
        policy: As it is now.
        name: What the draft is called.
        task: Its task's id and name.
        base: What it was trained from: a hub id or folder, and its commit.
        taught: Whose answers trained it: the teacher's name and its model.
        exchanges: How many.
    """
    under, answers = policy.terms_of_base(base[0]), policy.terms_of(*taught)
    decisions = (policy.may_train(base[0]), policy.may_learn_from(*taught))
    return Lineage(
        student=name,
        task=task[0],
        task_name=task[1],
        rung="draft",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        base=Base(id=base[0], kind="lm", revision=base[1], licences=under.names, tuned=True),
        taught_by=(
            TaughtBy(
                teacher=taught[0],
                model=taught[1],
                exchanges=exchanges,
                checkpoint=answers.checkpoint,
                licences=answers.names,
                told_by=answers.told_by,
                training=answers.training,
                terms=answers.terms,
                jurisdiction=answers.jurisdiction,
            ),
        ),
        decisions=decisions,
        conditions=tuple(dict.fromkeys(c for each in decisions for c in each.conditions)),
        versions={"openwheel": __version__},
    )


def draft_papers(
    record: DraftRecord, lineage: Lineage, conditions: tuple[Condition, ...]
) -> Mapping[str, str]:
    """Return the texts that go with a draft, by file name."""
    notices = tuple(dict.fromkeys(c.text for c in conditions if c.about == "notice"))
    lines = [f"- {line}" for line in licence_summary(lineage)]
    card = "\n".join([draft_card(record, lineage.student), "## Licences", "", *lines, *notices])
    found = {
        "README.md": card + "\n",
        "lineage.json": msgspec.json.format(msgspec.json.encode(lineage)).decode() + "\n",
    }
    if notices:
        found["NOTICE"] = "\n".join(notices) + "\n"
    return found
