"""The training run: LoRA on packed examples, early stopping, checkpoints that continue exactly.

TRL's trainer is what one would take. Measured on the same work (`benchmarks/lm.py`) this loop is
several times as fast for a task's exchanges, since it computes their shared beginning once a pack
and nothing again for the gradient; and a killed run ends with the very weights of one that was not.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.adapter import learned
from openwheel.students.lm.base import Base
from openwheel.students.lm.batches import Batch, plan_batches, shared_beginning
from openwheel.students.lm.checkpoint import State, load_checkpoint, save_checkpoint
from openwheel.students.lm.examples import Example
from openwheel.students.lm.loss import loss_of
from openwheel.students.lm.order import CHECKPOINT, Event, HeldOut, Note, Order, Progress

LOOKS = 2
"""Looks at the held-out part in an epoch."""

CLIP = 1.0
"""The longest gradient, as a vector of all weights; longer ones are shortened to it."""

LAST_LOSSES = 20
"""Steps over which the reported training loss is averaged."""

PASS_TOKENS_CPU, PASS_TOKENS_DEVICE = 512, 4096
"""Tokens a pass should have besides what examples share: fewer leave the arithmetic units idle."""

MOST_PASS_TOKENS = 16_384

Tell = Callable[[Event], None]


class Material(NamedTuple):
    """What is trained, and on what.

    Attributes:
        model: The base with its adapter.
        examples: All examples.
        training: Indexes of those that are learned from.
        held_out: Indexes of those for early stopping.
        packed: Whether they are packed.
        teacher: A model whose probabilities are learned, or None.
    """

    model: Any
    examples: Sequence[Example]
    training: Sequence[int]
    held_out: Sequence[int]
    packed: bool
    teacher: Any = None


def step_size(step: int, steps: int, settings: LmSection) -> float:
    """Return the learning rate of a step, counted from 0."""
    rising = max(1, round(settings.warmup * steps))
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - done)
    return settings.learning_rate


def rows_of(step: int, training: Sequence[int], settings: LmSection) -> list[int]:
    """Return which examples a step learns from: all once an epoch, in an order of its own.

    A function of the step alone, so that a continued run sees what it would have seen.
    """
    steps = steps_an_epoch(training, settings)
    epoch, at = divmod(step, steps)
    order = np.random.default_rng((settings.seed, epoch)).permutation(len(training))
    part = order[at * settings.batch : (at + 1) * settings.batch]
    return [training[i] for i in part]


def steps_an_epoch(training: Sequence[int], settings: LmSection) -> int:
    """Return how many optimizer steps see every example once."""
    return math.ceil(len(training) / settings.batch)


def look_steps(steps: int, epochs: int) -> frozenset[int]:
    """Return the steps after which the held-out part is looked at, the last one among them.

    >>> sorted(look_steps(53, 1)), sorted(look_steps(150, 2))
    ([26, 53], [38, 75, 112, 150])
    """
    looks = LOOKS * epochs
    return frozenset(round(steps * look / looks) for look in range(1, looks + 1)) - {0}


def pass_tokens(base: Base, examples: Sequence[Example], settings: LmSection) -> int:
    """Return how many tokens a pass may have.

    Longer packs compute the shared beginning less often, and more attention: with P tokens shared
    and a width of h, a pass of P + s tokens costs about (P + s) (6h + P + s), least for each
    token of s where s is the root of P (6h + P).
    """
    if settings.pass_tokens:
        return settings.pass_tokens
    shared = shared_beginning(examples)
    width = int(base.model.config.get_text_config().hidden_size)
    best = math.isqrt(shared * (6 * width + shared))
    fewest = PASS_TOKENS_CPU if base.device == "cpu" else PASS_TOKENS_DEVICE
    return min(shared + max(best, fewest), MOST_PASS_TOKENS)


class Run:
    """One run, from where it stands to its end.

    Args:
        order: What was ordered.
        material: What is trained, and on what.
        most: Tokens of a pass.
        tell: Is told of progress.

    Attributes:
        order: What was ordered.
        material: What is trained, and on what.
        state: Where it stands.
        continued: The step from which an earlier run was continued; 0 if none was.
        stopped: Whether its time was up before its last step.
    """

    def __init__(self, order: Order, material: Material, most: int, tell: Tell) -> None:
        import torch  # noqa: PLC0415

        self.order, self._settings = order, order.settings
        self.material, self._most, self._tell = material, most, tell
        self._weights = learned(material.model)
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), lr=self._settings.learning_rate, weight_decay=0.0
        )
        self._best = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._looks = plan_batches(
            material.examples, material.held_out, most=most, packed=material.packed
        )
        self.state = State(order=order.id)
        self.continued, self.stopped = 0, False
        self._restore()
        self._due = look_steps(self.steps, self._settings.epochs) if self._looks else frozenset()
        self._look_s = 0.0
        self._since = (time.monotonic(), time.process_time())
        self._began = self._saved = time.monotonic()
        self._tokens_before = self.state.tokens

    @property
    def steps(self) -> int:
        """How many steps it has, unless it stops early."""
        return self._settings.epochs * steps_an_epoch(self.material.training, self._settings)

    def run(self) -> dict[str, Any]:
        """Train to the end, or until the time is up, and return the weights to keep.

        Raises:
            ModelError: The loss is no number, or a checkpoint cannot be written.
        """
        while self.state.step < self.steps and self.state.stale < self._settings.patience:
            if self.state.step and self._is_late():
                self._stop()
                break
            self._step()
            if self.state.step in self._due:
                self._look()
            if time.monotonic() - self._saved > self.order.checkpoint_s:
                self._save()
        self._clock()
        return self._best if self._looks else {n: w.detach() for n, w in self._weights.items()}

    def _is_late(self) -> bool:
        """Return whether the time is up once a last look is taken, earlier processes counted."""
        used = self.state.seconds + time.monotonic() - self._since[0]
        return bool(self.order.deadline_s) and used + self._look_s > self.order.deadline_s

    def _stop(self) -> None:
        """Stop before the last step.

        The look that judges the last weights comes after the checkpoint: a run that goes on from
        there with more time is the one that was never stopped.
        """
        self._save()
        self.stopped = True
        if self._looks and self.state.step not in self._due:
            self._look()

    def _step(self) -> None:
        import torch  # noqa: PLC0415

        material, step = self.material, self.state.step
        batches = plan_batches(
            material.examples,
            rows_of(step, material.training, self._settings),
            most=self._most,
            packed=material.packed,
        )
        count = sum(len(batch.targets) for batch in batches)
        material.model.train()
        total = 0.0
        for batch in batches:
            loss = loss_of(material.model, batch, material.examples, teacher=material.teacher)
            (loss / count).backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ModelError(
                f"The training loss is {total} at step {step}: lower lm.learning_rate, was "
                f"{self._settings.learning_rate:g}"
            )
        torch.nn.utils.clip_grad_norm_(self._weights.values(), CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = step_size(step, self.steps, self._settings)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        tokens = self.state.tokens + sum(batch.tokens for batch in batches)
        losses = (*self.state.losses, total / count)[-LAST_LOSSES:]
        self._change(step=step + 1, tokens=tokens, losses=losses)
        speed = (tokens - self._tokens_before) / (time.monotonic() - self._began)
        self._tell(Progress(step + 1, self.steps, total / count, tokens, speed))

    def _look(self) -> None:
        begun = time.monotonic()
        loss = held_out_loss(self.material, self._looks)
        self._look_s = time.monotonic() - begun
        self._tell(HeldOut(self.state.step, loss))
        if self.state.best_loss is None or loss < self.state.best_loss:
            self._best = {name: w.detach().clone() for name, w in self._weights.items()}
            self._change(best_step=self.state.step, best_loss=loss, stale=0)
        else:
            self._change(stale=self.state.stale + 1)

    def _save(self) -> None:
        import torch  # noqa: PLC0415

        self._clock()
        tensors: dict[str, Any] = {}
        for name, weight in self._weights.items():
            moments = self._optimizer.state.get(weight, {})
            tensors[f"weight/{name}"] = weight.detach()
            tensors[f"best/{name}"] = self._best[name]
            tensors[f"first/{name}"] = moments.get("exp_avg", torch.zeros_like(weight))
            tensors[f"second/{name}"] = moments.get("exp_avg_sq", torch.zeros_like(weight))
        tensors = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}
        save_checkpoint(self.order.path / CHECKPOINT, self.state, tensors)
        self._saved = time.monotonic()

    def _restore(self) -> None:
        import torch  # noqa: PLC0415

        found = load_checkpoint(self.order.path / CHECKPOINT, self.order.id)
        if found is None:
            return
        state, tensors = found
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(tensors[f"weight/{name}"])
                self._best[name] = tensors[f"best/{name}"].to(weight.device)
                self._optimizer.state[weight] = {
                    "step": torch.tensor(float(state.step)),
                    "exp_avg": tensors[f"first/{name}"].to(weight.device),
                    "exp_avg_sq": tensors[f"second/{name}"].to(weight.device),
                }
        self.state, self.continued = state, state.step
        self._tell(Note(f"continuing at step {state.step}"))

    def _clock(self) -> None:
        """Count the time used since the last call."""
        now = (time.monotonic(), time.process_time())
        self._change(
            seconds=self.state.seconds + now[0] - self._since[0],
            cpu_seconds=self.state.cpu_seconds + now[1] - self._since[1],
        )
        self._since = now

    def _change(self, **changes: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)


def held_out_loss(material: Material, batches: Sequence[Batch]) -> float:
    """Return the mean loss of held-out tokens in nats, against the teacher's answers."""
    import torch  # noqa: PLC0415

    material.model.eval()
    with torch.no_grad():
        losses = [loss_of(material.model, batch, material.examples) for batch in batches]
    return sum(map(float, losses)) / sum(len(batch.targets) for batch in batches)
