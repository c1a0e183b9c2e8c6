"""Shows what is allowed, and what students were made of."""

from typing import TYPE_CHECKING, Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import out, print_json

if TYPE_CHECKING:
    from openwheel.trust import Decision


def policy(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL...]",
            help="Checkpoints or names of models. By default the teachers of the settings file.",
        ),
    ] = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Show what may be sent, learned from and trained, with the clauses that decide it.

    No legal advice: it is what the catalogue says of licences, applied to what [policy] says.
    """
    from openwheel.trust import Policy

    settings = options.settings_from(config)
    rules = Policy.of(settings)
    decisions: list[Decision] = []
    if models:
        for model in models:
            decisions += [rules.may_learn_from("", model), rules.may_train(model)]
    else:
        decisions += rules.on_teachers()
        for name, section in rules.teachers.items():
            named = [model for model in section.models if "*" not in model and "?" not in model]
            decisions += [rules.may_learn_from(name, model) for model in named or [""]]
        decisions += rules.on_bases(settings)
    if json:
        print_json({"decisions": decisions})
        return
    if not decisions:
        out.print("There are no teachers in the settings; name a model to ask about it.")
    for decision in decisions:
        out.print(str(decision))
        for warning in decision.warnings:
            out.print(f"  note: {warning}")
        for condition in decision.conditions:
            out.print(f"  {condition.about}: {condition.text} ({condition.licence})")


def lineage(
    student: options.Student,
    card: Annotated[
        bool, typer.Option("--card", help="Print the model card: Markdown with front matter.")
    ] = False,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Show what a student was made of: its base, its teachers, their licences, the data window."""
    from openwheel.logs import escaped
    from openwheel.loop.registry import Registry
    from openwheel.loop.turn.lineage import lineage_of
    from openwheel.store import Store
    from openwheel.trust import licence_summary, model_card

    with Store.open(db, create=False) as store:
        record = lineage_of(Registry(store), student)
    if json:
        print_json(record)
    elif card:
        print(escaped(model_card(record), keep="\n"), end="")
    else:
        out.print(f"{record.student}, task {record.task_name}, rung {record.rung}")
        if not record.complete:
            out.print("What it was made of was not kept: it is from before there were lineages.")
        for line in licence_summary(record):
            out.print(f"  {line}")
        for excluded in record.left_out:
            out.print(f"  left out: {excluded.exchanges:,} answers. {excluded.reason}")
        for condition in record.conditions:
            out.print(f"  {condition.about}: {condition.text} ({condition.licence})")
        for certificate in record.certificates:
            out.print(f"  certificate {certificate.id[:12]}, {certificate.created}")
