"""Training a draft on what its target wrote, or on what it might have written as well."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from openwheel.errors import ModelError
from openwheel.students.draft.acceptance import Acceptance
from openwheel.students.draft.examples import Example
from openwheel.students.draft.measure import against_answers


class DraftSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a draft is trained.

    Attributes:
        epochs: Times that each answer is learned from.
        learning_rate: Peak of AdamW's; rises over the first twentieth, falls as a cosine.
        batch: Answers of an optimizer step.
        context: The most tokens of an exchange; longer ones are left out.
        held_out: Share of the exchanges, the latest, on which the draft is measured. As many
            before these choose the epoch that is kept; neither is trained on.
        most_held_out: The most exchanges of each.
        draft_tokens: Tokens proposed before each pass of the target, when measured.
        soft: Weight of the target's probabilities against its answers, where it is loaded here.
        seed: Of the order of the exchanges.
    """

    epochs: Annotated[int, Meta(ge=1)] = 3
    learning_rate: Annotated[float, Meta(gt=0)] = 3e-4
    batch: Annotated[int, Meta(ge=1)] = 8
    context: Annotated[int, Meta(ge=8)] = 2_048
    held_out: Annotated[float, Meta(gt=0, lt=0.5)] = 0.1
    most_held_out: Annotated[int, Meta(ge=1)] = 256
    draft_tokens: Annotated[int, Meta(ge=1)] = 5
    soft: Annotated[float, Meta(ge=0, le=1)] = 0.5
    seed: int = 0


class DraftReport(msgspec.Struct, frozen=True, kw_only=True):
    """What training did.

    Attributes:
        before: Acceptance before training, on the held-out answers.
        after: After training, on the same.
        trained_on: Exchanges learned from.
        chosen_on: Exchanges that chose the epoch.
        dropped: Exchanges longer than the context.
        best_epoch: The epoch that was kept; 0: none was better than the start.
        steps: Optimizer steps taken.
        tokens: Tokens of answers learned from, each as often as it was.
        seconds: Time it took.
        distribution: Whether the target's probabilities were learned from.
    """

    before: Acceptance
    after: Acceptance
    trained_on: int
    chosen_on: int
    dropped: int
    best_epoch: int
    steps: int
    tokens: int
    seconds: float
    distribution: bool


def train_draft(
    draft: Any,
    examples: Sequence[Example],
    settings: DraftSettings,
    *,
    target: Any = None,
    dropped: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> DraftReport:
    """Train all weights of a draft, and measure it before and after on answers it did not see.

    Args:
        draft: The model, changed in place to the best epoch's weights.
        examples: Captured answers in the order of their time.
        settings: How.
        target: The target, if it is loaded here: the draft then learns its probabilities for
            every token at each place of the answers as well (forward Kullback-Leibler
            divergence).
        dropped: Exchanges that were left out before, for the report.
        tell: Told about each epoch, in a line.

    Raises:
        ModelError: There are too few answers, or training diverged.
    """
    import torch  # noqa: PLC0415 - seconds of imports

    began = time.monotonic()
    aside = min(settings.most_held_out, int(len(examples) * settings.held_out))
    if aside < 2:
        raise ModelError(
            f"A draft needs at least {math.ceil(2 / settings.held_out)} captured answers to train "
            f"on and be measured on, there are {len(examples)}"
        )
    learned, choosing, measured = (
        examples[: -2 * aside],
        examples[-2 * aside : -aside],
        examples[-aside:],
    )
    before = against_answers(draft, measured, settings.draft_tokens)
    best = (against_answers(draft, choosing, settings.draft_tokens).length, 0, _copy(draft))
    draft.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [weight for weight in draft.parameters() if weight.requires_grad],
        lr=settings.learning_rate,
        weight_decay=0.01,
    )
    per_epoch = math.ceil(len(learned) / settings.batch)
    total = per_epoch * settings.epochs
    random = np.random.default_rng(settings.seed)
    steps = tokens = 0
    for epoch in range(1, settings.epochs + 1):
        draft.train()
        lost = 0.0
        for rows in np.array_split(random.permutation(len(learned)), per_epoch):
            batch = [learned[row] for row in rows]
            rate = settings.learning_rate * _schedule(steps, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            count = sum(len(example.answer) for example in batch)
            loss = _loss(draft, target, batch, settings.soft) / count
            if not torch.isfinite(loss):
                raise ModelError(
                    f"Training the draft diverged at step {steps + 1}; lower its learning rate of "
                    f"{settings.learning_rate:g}"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(draft.parameters(), 1.0)
            optimizer.step()
            lost += float(loss.detach())
            steps, tokens = steps + 1, tokens + count
        draft.eval()
        now = against_answers(draft, choosing, settings.draft_tokens).length
        tell(f"epoch {epoch}: loss {lost / per_epoch:.3f} nats, acceptance length {now:.2f}")
        if now > best[0]:
            best = (now, epoch, _copy(draft))
    draft.load_state_dict(best[2])
    draft.requires_grad_(False)
    draft.eval()
    return DraftReport(
        before=before,
        after=against_answers(draft, measured, settings.draft_tokens),
        trained_on=len(learned),
        chosen_on=len(choosing),
        dropped=dropped,
        best_epoch=best[1],
        steps=steps,
        tokens=tokens,
        seconds=time.monotonic() - began,
        distribution=target is not None,
    )


def _loss(draft: Any, target: Any, batch: Sequence[Example], soft: float) -> Any:
    """Return the loss summed over the answers' tokens, nats."""
    import torch  # noqa: PLC0415
    from torch.nn.functional import cross_entropy, kl_div  # noqa: PLC0415

    longest = max(len(example.ids) for example in batch)
    ids = np.zeros((len(batch), longest), np.int64)
    real = np.zeros_like(ids)
    wanted = np.full_like(ids, -100)
    for row, example in enumerate(batch):
        size = len(example.ids)
        ids[row, :size], real[row, :size] = example.ids, 1
        wanted[row, example.prompt - 1 : size - 1] = example.answer
    given = {
        "input_ids": torch.tensor(ids, device=draft.device),
        "attention_mask": torch.tensor(real, device=draft.device),
    }
    places = torch.tensor(wanted, device=draft.device)
    here = places >= 0
    logits = draft(**given).logits[here].float()
    hard = cross_entropy(logits, places[here], reduction="sum")
    if target is None or not soft:
        return hard
    with torch.no_grad():
        moved = {name: tensor.to(target.device) for name, tensor in given.items()}
        theirs = target(**moved).logits.to(draft.device)[here].float().log_softmax(-1)
    shared = min(logits.shape[-1], theirs.shape[-1])
    apart = kl_div(
        logits.log_softmax(-1)[:, :shared], theirs[:, :shared], reduction="sum", log_target=True
    )
    return (1 - soft) * hard + soft * apart


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _copy(model: Any) -> dict[str, Any]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}
