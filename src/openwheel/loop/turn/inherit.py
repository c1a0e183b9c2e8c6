"""Has the student of one question shadow on another that is nearly the same.

An application that changes the wording of a question, or its choices, asks another question: a new
task, for which nothing is certified. The student of the old one is mostly good at it, so it shadows
at once, and is judged on what the new task's exchanges say. The first of them choose it, and do not
judge it.
"""

import difflib
import secrets
import shutil
from collections.abc import Iterator

import msgspec
import numpy as np

from openwheel.errors import EngineError, StudentFileError
from openwheel.gate import Certificate
from openwheel.loop.records import Candidate
from openwheel.loop.registry import restarted
from openwheel.loop.turn.state import TaskState
from openwheel.tasks import MIN_SUPPORT
from openwheel.wire import Question

ALIKE = 0.6
"""The least likeness of two questions, of their wording and of their answers each."""

AGREES, COVERS = 0.8, 0.25
"""Of the new task's first exchanges a student must answer this share, and agree on this share of
those: a worse one would spend a share of delta for nothing."""

MOST_TRIED = 3


def inherit(state: TaskState) -> None:
    """Have the student of a question like this one shadow, if the task had no student yet."""
    record = state.subject.record
    question = record.task.question
    if question is None or record.attempts or state.labelled < MIN_SUPPORT:
        return
    for name, certificate in _predecessors(state, question):
        candidate = state.registry.candidate(certificate.student)
        try:
            if not _is_good(state, candidate, certificate.threshold, question):
                continue
        except (EngineError, StudentFileError):
            continue
        state.shadow = _adopt(state, candidate)
        state.subject = msgspec.structs.replace(
            state.subject, record=msgspec.structs.replace(record, attempts=1)
        )
        state.end(
            "shadowing",
            f"the student {certificate.student} of the question {name!r} shadows on this one, "
            "which is nearly the same; it is judged on exchanges from now on",
        )
        return


def likeness(first: Question, other: Question) -> float:
    """Return how alike two questions are, from 0 to 1: the less of wording and of answers.

    Questions of different types are not alike.

    >>> spam = Question("predicate", "Is this message spam?")
    >>> likeness(spam, Question("predicate", "Is this e-mail spam?")) > ALIKE
    True
    >>> likeness(spam, Question("choice", "Is this message spam?", (("yes", None), ("no", None))))
    0.0
    """
    if first.type != other.type:
        return 0.0
    wording = difflib.SequenceMatcher(
        None, str(first.instructions), str(other.instructions), autojunk=False
    ).ratio()
    mine, others = set(first.answers), set(other.answers)
    return min(wording, len(mine & others) / len(mine | others))


def _predecessors(state: TaskState, question: Question) -> Iterator[tuple[str, Certificate]]:
    """Yield questions like this one with their latest certificates, the most alike first."""
    registry, promotions = state.registry, state.registry.promotions()
    alike = []
    for record in registry.tasks():
        other = record.task.question
        if other is None or record.task.id == state.task_id:
            continue
        promotion = promotions.get(record.task.id)
        if promotion is not None and promotion.certificate is not None:
            how = likeness(question, other)
            if how >= ALIKE:
                alike.append((how, promotion.id, record.task.name, promotion.certificate))
    for _, _, name, certificate in sorted(alike, key=lambda one: one[:2], reverse=True)[
        :MOST_TRIED
    ]:
        yield name, certificate


def _is_good(state: TaskState, candidate: Candidate, threshold: float, question: Question) -> bool:
    """Return whether a student does well on the task's exchanges so far."""
    data = state.data.to_train()
    student = state.registry.load(candidate, state.subject.resources)
    texts, confidence = student.answer(data.inputs)
    possible = np.array(
        [candidate.surfaces.get(text, text) in question.answers for text in texts], np.bool_
    )
    answered = (confidence >= threshold) & possible
    agrees = np.array(
        [text == answer for text, answer in zip(texts, data.answers, strict=True)], np.bool_
    )
    enough = answered.sum() >= COVERS * len(data)
    return bool(enough and agrees[answered].mean() >= AGREES)


def _adopt(state: TaskState, candidate: Candidate) -> Candidate:
    """Register a copy of a student as the task's shadow, judged on what comes from now on.

    The attempt is counted first, as for one that was trained.
    """
    registry, subject = state.registry, state.subject
    attempt = registry.attempt(state.task_id)
    student_id = f"{candidate.rung}-{secrets.token_hex(6)}"
    shutil.copytree(registry.files.folder(candidate.id), registry.files.folder(student_id))
    settings, lineage = subject.settings, candidate.made_of()
    taken = msgspec.structs.replace(
        candidate,
        id=student_id,
        task_id=state.task_id,
        epsilon=settings.epsilon,
        delta=settings.delta,
        compare=subject.compared.setting if subject.compared else "exact",
        compared=subject.compared,
        form=subject.record.form,
        folds=subject.record.folds,
        lineage=msgspec.structs.replace(lineage, student=student_id, task=state.task_id),
        matcher=registry.matcher_of(state.task_id),
        inherited=candidate.task_id,
    )
    shadow = restarted(taken, attempt, after_seq=state.newest)
    registry.add_candidate(shadow)
    return shadow
