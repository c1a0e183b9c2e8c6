"""The process that trains: ``python -m openwheel.students.lm.work ORDER.json``."""

import fcntl
import hashlib
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.errors import ModelError
from openwheel.inference.frame import Frame
from openwheel.inference.needs import GGUF, NEEDS, Needs
from openwheel.job import run_job
from openwheel.machine import within_free_memory
from openwheel.progress import lasting
from openwheel.settings import LmSection
from openwheel.students.lm.adapter import (
    add_adapter,
    save_adapter,
    targets_in,
)
from openwheel.students.lm.base import Base, load_base
from openwheel.students.lm.batches import packs_exactly
from openwheel.students.lm.examples import Example, Record, encode
from openwheel.students.lm.framing import frame_of, is_exact
from openwheel.students.lm.memory import Fit, fit_memory, is_lack_of_memory
from openwheel.students.lm.order import (
    ADAPTER,
    CHECKPOINT,
    RECORDS,
    REPORT,
    Done,
    Note,
    Order,
    Report,
)
from openwheel.students.lm.probabilities import TokenNames, with_probabilities
from openwheel.students.lm.prompt import LONGER_THAN_SEEN
from openwheel.students.lm.run import LOOKS, Material, Run, Tell, pass_tokens

PACKING: Final = MappingProxyType({"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05})
"""How far rounding may move log-probabilities of likely tokens where examples are packed."""


FORWARD: Final = 1 / 3
"""Share of a pass of training that is forward: going back takes twice as many operations."""

MOST_TRIED = 2_000
"""Prompts on which a frame is tried."""

LOCK = "lock"
"""Held in a work folder by the process that trains there."""


class Ended(msgspec.Struct, frozen=True):
    """The report in a work folder, and which order it is of."""

    order: str
    report: Report


def _work(order: Order, tell: Tell) -> None:
    with (order.path / LOCK).open("w") as lock:
        # Of a learner that was killed, a process may still be at it; it is about to end.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            report = carry_out(order, tell)
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            raise ModelError(
                "Training ran out of memory: lower lm.context or lm.rank, or take a smaller base"
            ) from None
        tell(Done(report))


def carry_out(order: Order, tell: Tell) -> Report:
    """Train as ordered; the adapter then lies in the order's folder.

    Raises:
        ModelError: The base cannot be loaded or adapted, memory, time or disk do not suffice, or
            no exchange is short enough.
    """
    done = _finished(order)
    if done is not None:
        return done
    records = _read(order)
    settings = order.settings
    base = load_base(
        settings.base,
        revision=settings.revision,
        precision=settings.precision,
        device=settings.device,
    )
    kept, examples = _examples(base, records, settings, tell)
    teacher = _teacher(base, settings)
    if settings.distil == "probabilities" and teacher is None:
        examples = _with_probabilities(base, kept, examples, tell)
    training = [i for i, record in enumerate(kept) if not record.held_out]
    model = add_adapter(base, settings)
    targets = targets_in(model)
    frame = _frame(base, kept, tell)
    _check_served(base, frame, settings)
    soft = teacher.model if teacher is not None else None
    packed = packs_exactly(model, examples, tolerance=PACKING[base.precision])
    most = pass_tokens(base, examples, settings)
    memory = fit_memory(model, examples, most=most, packed=packed, teacher=soft)
    if memory.checkpointing:
        tell(Note("memory is short: each layer is computed again for its gradient"))
    material = Material(
        model,
        examples,
        training,
        [i for i, record in enumerate(kept) if record.held_out],
        packed,
        soft,
    )
    run = Run(order, material, memory.most, tell)
    tell(Note(_estimate(memory, run, base)))
    with within_free_memory(1.0):
        weights = run.run()
    report = Report(
        steps=run.state.step,
        best_step=run.state.best_step or run.state.step,
        loss=sum(run.state.losses) / len(run.state.losses),
        held_out_loss=run.state.best_loss,
        tokens=run.state.tokens,
        seconds=run.state.seconds,
        cpu_seconds=run.state.cpu_seconds,
        dropped=len(records) - len(kept),
        longest_answer=max(len(example.ids) - example.prompt for example in examples),
        packed=packed,
        continued=run.continued,
        time_limit=order.deadline_s if run.stopped else 0.0,
        soft=len(examples)
        if material.teacher is not None
        else sum(example.soft is not None for example in examples),
        base_revision=base.revision,
        model_type=base.model_type,
        targets=targets,
        frame=frame,
    )
    _finish(
        order, model, weights, report, served=lambda folder: _serve(folder, base, examples, tell)
    )
    return report


def _examples(
    base: Base, records: Sequence[Record], settings: LmSection, tell: Tell
) -> tuple[list[Record], list[Example]]:
    """Return the exchanges that are short enough, as they came and as tokens."""
    context = _context(base, settings)
    encoded = zip(records, encode(base.tokenizer, records, context=context), strict=True)
    short = [(record, example) for record, example in encoded if example is not None]
    if dropped := len(records) - len(short):
        tell(Note(f"{dropped} of {len(records)} exchanges are longer than the context: left out"))
    if all(record.held_out for record, _ in short):
        raise ModelError(
            f"There must be an exchange of at most {context} tokens to train on; all "
            f"{len(records)} are longer"
        )
    return [record for record, _ in short], [example for _, example in short]


def _estimate(fit: Fit, run: Run, base: Base) -> str:
    """Say how long what is left of a run takes at the measured speed, and how to go without."""
    import torch  # noqa: PLC0415 - long loaded, but in this process alone

    settings, material = run.order.settings, run.material
    left = 1 - run.state.step / run.steps
    seconds = left * run_tokens(material, settings.epochs) * fit.seconds / fit.tokens
    threads = torch.get_num_threads()
    where = f"{threads} threads" if base.device == "cpu" and threads > 1 else "one thread"
    cost = f", {lasting(seconds * threads)} of processor time" if threads > 1 else ""
    if base.device != "cpu":
        where, cost = base.device, ""
    limit = run.order.deadline_s
    ends = f"ends it after {lasting(limit)}" if limit else "would end it sooner"
    return (
        f"training takes about {lasting(seconds)} on this machine: {run.steps - run.state.step:,} "
        f"steps on {where}{cost} (measured: {fit.tokens:,} tokens in {fit.seconds:.2g} s). "
        f"lm.time_limit {ends}, with the best weights so far; to skip it, leave lm out of the "
        "rungs (--rungs exact,linear)"
    )


def run_tokens(material: Material, epochs: int) -> float:
    """Return the tokens of a run, those that are only looked at by the share that it takes."""
    learned = sum(len(material.examples[i].ids) for i in material.training)
    seen = sum(len(material.examples[i].ids) for i in material.held_out)
    return epochs * (learned + LOOKS * FORWARD * seen)


def _frame(base: Base, records: Sequence[Record], tell: Tell) -> Frame | None:
    """Return what stands around messages in the prompts, if that gives all of these."""
    thinking = any(record.reasoning for record in records)
    frame = frame_of(base.tokenizer, thinking=thinking)
    tried = [record.messages for record in records[:: 1 + len(records) // MOST_TRIED]]
    if frame is None or not is_exact(frame, base.tokenizer, tried, thinking=thinking):
        tell(Note("the base's chat template cannot be written for llama.cpp: vLLM or SGLang can"))
        return None
    return frame


def _check_served(base: Base, frame: Frame | None, settings: LmSection) -> None:
    """Refuse before anything is trained what nothing could serve.

    Raises:
        ModelError: llama.cpp is to serve the student, and cannot.
    """
    if settings.server and settings.server_api != "llama.cpp":
        return
    from openwheel.inference.gguf.families import FAMILIES, keys_of  # noqa: PLC0415 - seconds of imports

    config, why = base.model.config, ""
    if frame is None:
        why = "its chat template is not one text around the messages"
    elif config.model_type not in FAMILIES:
        why = f"{base.model_type} is not among the families {', '.join(FAMILIES)}"
    else:
        try:
            keys_of(config, FAMILIES[config.model_type])
        except ModelError as error:
            why = str(error)
    if why:
        raise ModelError(
            f"Students of {base.name} cannot be served by llama.cpp ({why}); name a server of "
            "vLLM or SGLang as [lm] server"
        )


def _serve(folder: Path, base: Base, examples: Sequence[Example], tell: Tell) -> None:
    """Write beside an adapter what llama.cpp serves it by."""
    prompt = max(example.prompt for example in examples)
    answer = max(len(example.ids) - example.prompt for example in examples)
    wanted = math.ceil(LONGER_THAN_SEEN * (prompt + answer)) + 8
    config = base.model.config
    context = min(wanted, getattr(config, "max_position_embeddings", None) or wanted)
    try:
        from openwheel.inference.gguf.lora import write_lora  # noqa: PLC0415 - the extra may lack

        write_lora(folder, folder / GGUF, config)
    except ModelError as error:
        tell(Note(f"{error}: vLLM or SGLang can serve it"))
        return
    (folder / NEEDS).write_bytes(msgspec.json.encode(Needs(context)))


def _teacher(base: Base, settings: LmSection) -> Base | None:
    """Return the model to distil from, None if only captured answers are learned from."""
    if settings.distil == "answers" or not settings.teacher:
        return None
    teacher = load_base(
        settings.teacher,
        revision=settings.teacher_revision,
        precision=settings.precision,
        device=settings.device,
    )
    if base.tokenizer.get_vocab() != teacher.tokenizer.get_vocab():
        raise ModelError(
            f"The teacher {teacher.name} must have the tokenizer of the base {base.name} for its "
            "probabilities to be learned, and has another"
        )
    return teacher


def _with_probabilities(
    base: Base, records: Sequence[Record], examples: Sequence[Example], tell: Tell
) -> list[Example]:
    names = TokenNames(base.tokenizer)
    found = [
        with_probabilities(example, record.logprobs, names) if record.logprobs else example
        for record, example in zip(records, examples, strict=True)
    ]
    known = sum(example.soft is not None for example in found)
    tell(Note(f"{known} of {len(found)} exchanges have log-probabilities of the student's tokens"))
    return found


def _read(order: Order) -> list[Record]:
    try:
        content = (order.path / RECORDS).read_bytes()
    except OSError as error:
        raise ModelError(f"The exchanges to train on cannot be read: {error}") from None
    if hashlib.sha256(content).hexdigest() != order.records_sha256:
        raise ModelError(f"The exchanges in {order.path / RECORDS} are not those of the order")
    return msgspec.json.Decoder(Record).decode_lines(content)


def _context(base: Base, settings: LmSection) -> int:
    """Return the most tokens of an exchange: what the settings say, or what the model has."""
    known = getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
    return min(settings.context, known or settings.context)


def _finished(order: Order) -> Report | None:
    """Return the report of a run of this very order that ended, None if there is none.

    One that was stopped has not ended where it may now take longer.
    """
    try:
        ended = msgspec.json.decode((order.path / REPORT).read_bytes(), type=Ended)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    if ended.order != order.id or not (order.path / ADAPTER).exists():
        return None
    stopped = ended.report.time_limit
    longer = not order.deadline_s or order.deadline_s > stopped
    return None if stopped and longer else ended.report


def _finish(
    order: Order,
    model: Any,
    weights: dict[str, Any],
    report: Report,
    *,
    served: Callable[[Path], None],
) -> None:
    """Put adapter and report in their places, the report last: it says that all is there."""
    folder, scratch = order.path / ADAPTER, order.path / f"{ADAPTER}.new"
    try:
        (order.path / REPORT).unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        save_adapter(model, weights, scratch)
        served(scratch)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(scratch, folder)
        part = order.path / f"{REPORT}.new"
        part.write_bytes(msgspec.json.encode(Ended(order=order.id, report=report)))
        os.replace(part, order.path / REPORT)
    except OSError as error:
        raise ModelError(f"The adapter cannot be written to {folder}: {error}") from None
    if not report.time_limit:  # else it can go on from there
        shutil.rmtree(order.path / CHECKPOINT, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(run_job(Order, _work))
