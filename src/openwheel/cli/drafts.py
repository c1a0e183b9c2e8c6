"""``openwheel draft``: drafts for speculative decoding, trained on captured answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openwheel.cli import options
from openwheel.cli.output import note, out, print_json, print_table
from openwheel.errors import SettingError

if TYPE_CHECKING:
    from openwheel.students.draft import Acceptance, Captured, Origin

Task = Annotated[str, typer.Argument(metavar="TASK", help="A task's name or id.")]
Target = Annotated[
    str,
    typer.Option(
        help="The model that is hosted: a folder or a hub id. Its weights are needed only for "
        "--layers, --learn probabilities and --load-target, else its tokenizer and configuration."
    ),
]
TargetRevision = Annotated[str, typer.Option(help="With a hub id as target: its commit.")]
Model = Annotated[
    str, typer.Option(help="Learn from this model's answers, where the task has several models'.")
]
DraftTokens = Annotated[
    int, typer.Option(min=1, help="Tokens proposed before each pass of the target.")
]
Context = Annotated[
    int, typer.Option(min=8, help="The most tokens of an exchange; longer ones are left out.")
]
Device = Annotated[str, typer.Option(help="A torch device; auto takes an accelerator.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    draft = typer.Typer(
        name="draft",
        help="Train and measure drafts for speculative decoding on a teacher you host.",
        no_args_is_help=True,
    )
    draft.command()(train)
    draft.command()(measure)
    app.add_typer(draft)


def train(
    task: Task,
    target: Target,
    to: Annotated[Path, typer.Option("--to", help="The folder to make.")],
    start: Annotated[
        str,
        typer.Option(
            "--from", help="A small checkpoint with the target's tokenizer to train from."
        ),
    ] = "",
    revision: Annotated[str, typer.Option(help="With a hub id as --from: its commit.")] = "",
    layers: Annotated[
        int, typer.Option(min=0, help="Instead of --from: the target's own first layers.")
    ] = 0,
    target_revision: TargetRevision = "",
    learn: Annotated[
        str,
        typer.Option(
            metavar="answers|probabilities",
            help="Learn from captured answers alone, or from the target's probabilities too.",
        ),
    ] = "answers",
    model: Model = "",
    draft_tokens: DraftTokens = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Times each answer is learned from.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="The peak.")] = 3e-4,
    batch: Annotated[int, typer.Option(min=1, help="Answers of an optimizer step.")] = 8,
    context: Context = 2_048,
    precision: Annotated[
        str, typer.Option(metavar="bf16|fp16|fp32", help="Of the weights that are written.")
    ] = "bf16",
    name: Annotated[str, typer.Option(help="What it is called; by default its task's name.")] = "",
    device: Device = "auto",
    config: options.Config = None,
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Train a draft on a task's captured answers, measure it before and after, and write it."""
    if bool(start) == bool(layers):
        raise SettingError("A draft is trained --from a checkpoint or from the target's --layers")
    if learn not in {"answers", "probabilities"}:
        raise SettingError(f"--learn must be answers or probabilities, was {learn!r}")
    from openwheel.students.draft import DraftSettings
    from openwheel.trust import Policy

    policy = Policy.of(options.settings_from(config))
    task_id, task_name, origin, captured = _captured(db, task, model)
    _prepare()
    from openwheel.export.drafting import DraftOrder, make_draft

    order = DraftOrder(
        target=target,
        target_revision=target_revision,
        start=start,
        revision=revision,
        layers=layers,
        probabilities=learn == "probabilities",
        precision=precision,
        name=name,
        device=device,
        settings=DraftSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            batch=batch,
            context=context,
            draft_tokens=draft_tokens,
        ),
    )
    made = make_draft(
        order,
        to,
        captured,
        task=(task_id, task_name),
        origin=origin,
        policy=policy,
        tell=note,
    )
    if json:
        print_json(made)
        return
    out.print(
        f"{made.name} is written to {to}: {made.draft.parameters:,} parameters.", markup=False
    )
    _print([("before", made.draft.report.before), ("after", made.draft.report.after)])


def measure(
    draft: Annotated[
        str, typer.Argument(metavar="DRAFT", help="A draft's folder, or any checkpoint.")
    ],
    task: Task,
    target: Target,
    target_revision: TargetRevision = "",
    revision: Annotated[str, typer.Option(help="With a hub id as draft: its commit.")] = "",
    model: Model = "",
    draft_tokens: DraftTokens = 5,
    load_target: Annotated[
        bool,
        typer.Option(
            "--load-target", help="Have the target answer the prompts here, instead of the log."
        ),
    ] = False,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="With --load-target: sample; 0 decodes greedily.")
    ] = 0.0,
    limit: Annotated[int, typer.Option(min=2, help="Newest answers to measure on.")] = 64,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="With --load-target: the most tokens of an answer.")
    ] = 256,
    context: Context = 2_048,
    device: Device = "auto",
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Measure how many tokens a target gets through in one pass with a draft.

    On answers of the log; a draft trained on these same answers looks better than it is.
    """
    if temperature and not load_target:
        raise SettingError("Sampling is measured with the target at hand: add --load-target")
    from openwheel.engine.base import load_base
    from openwheel.students.draft import (
        against_answers,
        against_target,
        check_same_tokenizer,
        encode_captured,
        load_target_tokenizer,
    )

    _, _, _, captured = _captured(db, task, model)
    _prepare()
    tokenizer = load_target_tokenizer(target, revision=target_revision)
    small = load_base(draft, revision=revision, device=device)
    check_same_tokenizer(small.tokenizer, tokenizer, names=(draft, target))
    examples = encode_captured(tokenizer, captured[-limit:], context=context)
    if load_target:
        whole = load_base(target, revision=target_revision, device=device)
        found = against_target(
            small.model,
            whole.model,
            examples,
            draft_tokens,
            temperature=temperature,
            max_new_tokens=max_tokens,
        )
    else:
        found = against_answers(small.model, examples, draft_tokens)
    if json:
        print_json({"draft": draft, "target": target, "acceptance": found})
        return
    _print([(draft, found)])


def _prepare() -> None:
    """Check that the extras are there, and keep libraries' advice off the output."""
    try:
        from openwheel.export import quiet
    except ModuleNotFoundError as error:
        raise SettingError(
            "Drafts need the extras `lm` and `export`: pip install 'openwheel[lm,export]' "
            f"({error})"
        ) from None
    quiet()


def _captured(db: Path, task: str, model: str) -> "tuple[str, str, Origin, list[Captured]]":
    from openwheel.loop.registry import Registry
    from openwheel.store import Store
    from openwheel.students.draft import captured_answers, choose, origins

    with Store.open(db, create=False) as store:
        found = Registry(store).find_task(task).task
        origin = choose(origins(store, found.id), model)
        return found.id, found.name, origin, captured_answers(store, found.id, origin)


def _print(rows: "list[tuple[str, Acceptance]]") -> None:
    print_table(
        ["", "answers", "proposed", "tokens a pass", "95% interval", "taken"],
        [
            [
                name,
                f"{found.answers:,}",
                str(found.draft_tokens),
                f"{found.length:.2f}",
                f"{found.low:.2f} to {found.high:.2f}",
                f"{found.rate:.1%}",
            ]
            for name, found in rows
        ],
    )
