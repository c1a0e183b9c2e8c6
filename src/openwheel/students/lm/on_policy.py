"""On-policy distillation by TRL: the student writes, the teacher's probabilities correct it.

Source: Agarwal et al. (2024), "On-Policy Distillation of Language Models", ICLR; TRL's
``DistillationTrainer``.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openwheel.engine.base import Base
from openwheel.engine.prompts import render
from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.examples import Record
from openwheel.students.lm.order import Note, Progress
from openwheel.students.lm.run import Tell

BETA = 1.0
"""Reverse Kullback-Leibler divergence: the student should not write what the teacher would not."""


def check_vocabulary(base: Base, teacher: Base) -> None:
    """Refuse a teacher whose tokens are not the base's.

    Raises:
        ModelError: A text has other tokens for the one than for the other.
    """
    if base.tokenizer.get_vocab() != teacher.tokenizer.get_vocab():
        raise ModelError(
            f"The teacher {teacher.name} must have the tokenizer of the base {base.name} for its "
            "probabilities to be learned, and has another"
        )


def train_on_policy(
    base: Base,
    model: Any,
    teacher: Base,
    records: Sequence[Record],
    *,
    settings: LmSection,
    longest: int,
    folder: Path,
    tell: Tell,
) -> int:
    """Train an adapter for an epoch on what it writes itself.

    Args:
        base: What the adapter is on.
        model: Base and adapter; changed in place.
        teacher: A model with the same tokenizer.
        records: Exchanges, of which only what was asked is used.
        settings: The settings of the rung.
        longest: The most tokens it may write.
        folder: Where TRL may keep checkpoints of this run, which is private to it.
        tell: Is told of progress.

    Returns:
        Optimizer steps taken.

    Raises:
        ModelError: The teacher has other tokens, or prompts that TRL would read otherwise.
    """
    from datasets import Dataset  # noqa: PLC0415 - 20 seconds of imports
    from transformers import TrainerCallback  # noqa: PLC0415
    from trl import DistillationConfig, DistillationTrainer  # noqa: PLC0415

    check_vocabulary(base, teacher)
    prompts = [_prompt(base.tokenizer, record) for record in records]
    base.tokenizer.padding_side = "left"

    def follow(_self: Any, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        tell(Progress(state.global_step, state.max_steps, None, 0))

    follower = type("Follower", (TrainerCallback,), {"on_step_end": follow})
    warmup = round(settings.warmup * math.ceil(len(prompts) / settings.batch))
    trainer = DistillationTrainer(
        model=model,
        teacher_model=teacher.model,
        processing_class=base.tokenizer,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        args=DistillationConfig(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=settings.batch,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=settings.schedule,
            warmup_steps=warmup,
            max_grad_norm=1.0,
            beta=BETA,
            max_completion_length=longest,
            gradient_checkpointing=False,
            bf16=base.precision == "bfloat16",
            use_cpu=base.device == "cpu",
            seed=settings.seed,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        callbacks=[follower()],
    )
    tell(Note(f"the student writes, {teacher.name} corrects it"))
    trainer.train()
    return int(trainer.state.global_step)


def _prompt(tokenizer: Any, record: Record) -> str:
    """Return a prompt as text that becomes its very tokens again."""
    turns = [{"role": message.role, "content": message.text} for message in record.messages]
    rendered = render(tokenizer, turns, thinking=False)
    text = rendered.text
    if tokenizer.bos_token and text.startswith(tokenizer.bos_token):
        bare = text.removeprefix(tokenizer.bos_token)
        if tokenizer(bare)["input_ids"] == rendered.ids:
            return bare
    if tokenizer(text)["input_ids"] != rendered.ids:
        raise ModelError("The base's tokenizer adds tokens to a prompt that its template did not")
    return text
