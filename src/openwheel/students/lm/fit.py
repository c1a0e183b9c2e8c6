"""Training the rung ``lm`` on a task's exchanges, and what it says to those it did not see."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.inference.writer import Written
from openwheel.progress import Progress, Step, silent
from openwheel.settings import LmSection
from openwheel.students.agreement import fit_agreement, out_of_fold_confidence
from openwheel.students.lm.confidence import FOLDS, evidence
from openwheel.students.lm.examples import Record, TopLogprobs
from openwheel.students.lm.order import Event, HeldOut
from openwheel.students.lm.order import Progress as AtStep
from openwheel.students.lm.prompt import (
    Asking,
    constraint_for,
    learned_text,
    longest_prompt,
)
from openwheel.students.lm.student import LmSettings, LmStudent, ask_all, canonical, usable
from openwheel.students.lm.train import place_order, train_adapter
from openwheel.students.model import text_of
from openwheel.students.rung import Losses, Serve
from openwheel.students.student import Fitted, Inputs
from openwheel.tasks import FORMS, Form, Template
from openwheel.wire import split_reasoning

FEWEST_EXAMPLES = 2
"""A label given to fewer different inputs is left to the teacher."""

FEWEST_EXCHANGES = 8
"""Different inputs that training needs: some to learn from, some to stop by, some to judge by."""

MOST_EXCHANGES = 50_000
"""The latest exchanges up to this many are trained on."""

MOST_HELD_OUT = 2_000
"""More of them would cost more answers than they sharpen the confidence."""

STOPPING = 0.25
"""Share of the held-out exchanges that early stopping looks at; confidence is fitted on the others,
which then had no part in the choice of the adapter."""

MOST_STOPPING = 256

LONGER_ANSWERS = 1.25
"""An answer may have this many times the tokens of the longest in training."""


class Parts(NamedTuple):
    """Rows of the training exchanges by what they are for."""

    learned: list[int]
    stopping: list[int]
    judged: list[int]


class Extras(NamedTuple):
    """What is known of the teacher's answers besides their text, by row of the exchanges.

    Attributes:
        reasoning: What the teacher thought before it answered.
        logprobs: What it might have written at each token of its answer.
    """

    reasoning: Mapping[int, str] = {}
    logprobs: Mapping[int, tuple[TopLogprobs, ...]] = {}


def fit_lm(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    *,
    template: Template,
    form: Form,
    settings: LmSection,
    variables: tuple[int, ...],
    surfaces: Mapping[str, str],
    work: Path,
    serve: Serve,
    folds: tuple[str, ...] = (),
    losses_of: Losses | None = None,
    extras: Extras | None = None,
    tell: Callable[[Event], None] | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Train a student of the rung ``lm``.

    The latest of the inputs that first came late are held out, with all their repeats: a quarter
    stops the training, the others are answered by the trained student, and its confidence is
    fitted on those answers. Nothing is trained on them afterwards.

    Args:
        inputs: In order of arrival, shape (n,).
        answers: The teacher's canonical answers, shape (n,).
        template: The task's prompt template.
        form: Its answer form.
        settings: The settings of the rung.
        variables: Which of the inputs tell exchanges apart; the others are dates and names.
        surfaces: How the teacher mostly wrote each answer, as the student shall write it.
        work: A work folder; that of an earlier run of the same exchanges and settings goes on.
        serve: Serves the trained adapter.
        losses_of: How far answers are from the teacher's. By default they must be equal, as
            form and folds compare them.
        extras: What else is known of the answers.
        tell: Is told what the process that trains tells.
        progress: Is told how far it is.

    Raises:
        ValueError: There is nothing to learn.
        ModelError: Training cannot go on; the message says why.
        EngineError: The trained student cannot be asked.
    """
    surfaces = {answer: split_reasoning(text)[1] for answer, text in surfaces.items()}
    parts = divide(inputs, answers, form=form, variables=variables, share=settings.held_out)
    known = sorted({answers[row] for row in parts.learned})
    asking = Asking(
        template=template,
        prompt=settings.prompt,
        variables=variables,
        form=form,
        folds=folds,
        constraint=constraint_for(form, template, [answers[r] for r in parts.learned], surfaces),
        longest=0,
    )
    asking = msgspec.structs.replace(
        asking,
        longest=longest_prompt(asking, [inputs[row] for row in parts.learned]),
        thinking=settings.reasoning == "keep" and bool(extras and extras.reasoning),
    )
    records = _records(
        inputs, answers, parts, asking=asking, surfaces=surfaces, extras=extras or Extras()
    )
    with Step(progress, "training the model", unit="steps") as step:
        follow = _follow(step, tell)
        adapter, report = train_adapter(place_order(work, records, settings), follow)
    if report.time_limit:
        progress(
            f"lm: stopped by lm.time_limit after {report.steps:,} steps; the weights of step "
            f"{report.best_step:,} are judged"
        )
    most = math.ceil(LONGER_ANSWERS * report.longest_answer) + 8
    asking = msgspec.structs.replace(asking, max_tokens=most, frame=report.frame)
    writer, model, served_base = serve(adapter)
    asked, written = ask_all(writer, model, asking, [inputs[row] for row in parts.judged], progress)
    losses = np.ones(len(parts.judged))  # what is never asked about is never answered
    losses[asked] = _losses(written, [parts.judged[i] for i in asked], answers, asking, losses_of)
    features = evidence(written)
    part = np.random.default_rng(0).permutation(len(asked)) % FOLDS
    confidence = np.zeros(len(parts.judged))
    confidence[asked] = out_of_fold_confidence(features, 1 - losses[asked], part)
    for row, one in zip(asked, written, strict=True):
        if not usable(one, form, folds):
            confidence[row] = 0.0
    agreement = fit_agreement(features, 1 - losses[asked])
    student = LmStudent(
        LmSettings(
            asking=asking,
            answers=tuple(known) if FORMS[form].closed else (),
            intercept=agreement.intercept,
            base=settings.base,
            base_revision=report.base_revision,
            model_type=report.model_type,
            base_fingerprint=served_base,
        ),
        agreement,
        adapter=adapter,
        writer=writer,
        model=model,
    )
    return Fitted(
        student,
        confidence,
        losses < 0.5,
        np.array(parts.judged, np.int64),
        None if losses_of is None else losses,
    )


def _follow(step: Step, tell: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Return what tells how far training is, how fast and how well it goes."""
    held_out = ""

    def follow(event: Event) -> None:
        nonlocal held_out
        if isinstance(event, HeldOut):
            held_out = f" (held out {event.loss:.3f})"
        if isinstance(event, AtStep):
            about = f"{event.speed:,.0f} tokens/s, loss {event.loss:.3f}{held_out}"
            step(event.step, event.steps, about)
        if tell is not None:
            tell(event)

    return follow


def divide(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    *,
    form: Form,
    variables: tuple[int, ...],
    share: float,
) -> Parts:
    """Divide exchanges into those to learn from, to stop by and to judge by.

    Inputs are the same where their variables differ in case and white space only. All exchanges of
    an input go to one part, so that nothing held out was learned. An exchange that came again
    often is learned from a few times, one held out is judged once.

    Raises:
        ValueError: There is nothing to learn.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row in range(max(0, len(inputs) - MOST_EXCHANGES), len(inputs)):
        groups[" ".join(text_of(inputs[row], variables).split()).casefold()].append(row)
    if len(groups) < FEWEST_EXCHANGES:
        raise ValueError(
            f"{len(groups)} different inputs are too few: there is nothing to learn with fewer "
            f"than {FEWEST_EXCHANGES}"
        )
    in_order = sorted(groups.values(), key=lambda rows: rows[0])
    held_out = min(max(2, round(share * len(in_order))), MOST_HELD_OUT)
    learned, later = in_order[:-held_out], in_order[-held_out:]
    stopping = max(1, min(round(STOPPING * held_out), MOST_STOPPING))
    rows = [row for group in learned for row in _few(group, answers)]
    if FORMS[form].closed:
        times = Counter(answer for group in learned for answer in {answers[r] for r in group})
        rows = [row for row in rows if times[answers[row]] >= FEWEST_EXAMPLES]
    if not rows:
        raise ValueError("no answer was given to two different inputs: there is nothing to learn")
    return Parts(
        sorted(rows),
        sorted(group[0] for group in later[:stopping]),
        sorted(row for group in later[stopping:] for row in _once(group, answers)),
    )


def _few(group: Sequence[int], answers: Sequence[str]) -> list[int]:
    """Return the latest exchanges of each answer to an input: 1 + ln(how many) of them."""
    by_answer: dict[str, list[int]] = defaultdict(list)
    for row in group:
        by_answer[answers[row]].append(row)
    return [row for rows in by_answer.values() for row in rows[-1 - int(math.log(len(rows))) :]]


def _once(group: Sequence[int], answers: Sequence[str]) -> list[int]:
    return list({answers[row]: row for row in reversed(group)}.values())


def _records(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    parts: Parts,
    *,
    asking: Asking,
    surfaces: Mapping[str, str],
    extras: Extras,
) -> list[Record]:
    stopping = set(parts.stopping)
    return [
        Record(
            messages=asking.messages(inputs[row]),
            answer=learned_text(answers[row], surfaces, asking.constraint),
            reasoning=extras.reasoning.get(row, "") if asking.thinking else "",
            logprobs=extras.logprobs.get(row, ()),
            held_out=row in stopping,
        )
        for row in (*parts.learned, *parts.stopping)
    ]


def _losses(
    written: Sequence[Written],
    rows: Sequence[int],
    answers: Sequence[str],
    asking: Asking,
    losses_of: Losses | None,
) -> npt.NDArray[np.float64]:
    losses = np.ones(len(written))
    form, folds = asking.form, asking.folds
    usable_ones = [i for i, one in enumerate(written) if usable(one, form, folds)]
    if losses_of is not None:
        texts = [written[i].text for i in usable_ones]
        found = losses_of([rows[i] for i in usable_ones], texts)
        losses[usable_ones] = np.clip(np.array(found, float), 0.0, 1.0)
        return losses
    for i in usable_ones:
        losses[i] = float(canonical(written[i].text, form, folds) != answers[rows[i]])
    return losses
