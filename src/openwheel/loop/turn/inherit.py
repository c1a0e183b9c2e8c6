"""Has the student of one task shadow on another that asks the same, or nearly.

An application that changes the wording of a question, or its choices, asks another question: a new
task, for which nothing is certified. The student of the old one is mostly good at it. So is that of
a chat task for a decision with the same answers, where the user says so (``same_as``). It shadows
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
from openwheel.loop.records import Candidate, Promotion, TaskRecord, accepted
from openwheel.loop.registry import restarted
from openwheel.loop.subject import Subject
from openwheel.loop.turn.state import TaskState
from openwheel.tasks import FORMS, MIN_SUPPORT, canonical_answer
from openwheel.wire import Answer, Question

ALIKE = 0.6
"""The least likeness of two questions, of their wording and of their answers each."""

AGREES, COVERS = 0.8, 0.25
"""Of the new task's first exchanges a student must answer this share, and agree on this share of
those: a worse one would spend a share of delta for nothing."""

MOST_TRIED = 3


def inherit(state: TaskState) -> None:
    """Have the student of a task like this one shadow, if the task had no student yet."""
    record = state.subject.record
    if state.labelled < MIN_SUPPORT or not may_inherit(state.subject):
        return
    named = state.subject.settings.task(state.name).same_as
    for name, certificate in _predecessors(state, named):
        candidate = state.registry.candidate(certificate.student)
        try:
            if not _is_good(state, candidate, certificate.threshold):
                continue
        except (EngineError, StudentFileError):
            continue
        state.shadow = _adopt(state, candidate)
        state.subject = msgspec.structs.replace(
            state.subject, record=msgspec.structs.replace(record, attempts=1)
        )
        state.end(
            "shadowing",
            f"the student {certificate.student} of the task {name!r} shadows on this one, which "
            "asks nearly the same; it is judged on exchanges from now on",
        )
        return
    if named:
        state.tell("waiting", f"no student of {named!r} (same_as) is good enough at this task yet")
    elif other := _same_answers(state):
        state.tell(
            "waiting",
            f"the task {other!r} has the same answers; if it asks the same, same_as = {other!r} "
            f"under [tasks.{state.name}] has its student tried on this one",
        )


def may_inherit(subject: Subject) -> bool:
    """Return whether other tasks' students are looked at for a task, before a label of it is."""
    record = subject.record
    named = subject.settings.task(record.task.name).same_as
    return not record.attempts and bool(record.task.question or named)


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


def _promoted(state: TaskState) -> Iterator[tuple[TaskRecord, Promotion, Certificate]]:
    """Yield the other tasks of labels that have a promoted student."""
    promotions = state.registry.promotions()
    for record in state.registry.tasks():
        promotion = promotions.get(record.task.id)
        if record.task.id == state.task_id or promotion is None or not FORMS[record.form].closed:
            continue
        if promotion.certificate is not None:
            yield record, promotion, promotion.certificate


def _predecessors(state: TaskState, named: str) -> Iterator[tuple[str, Certificate]]:
    """Yield tasks like this one with their certificates: the named one, or questions alike."""
    question = state.subject.record.task.question
    alike = []
    for record, promotion, certificate in _promoted(state):
        other = record.task.question
        if named:
            how = float(named in {record.task.name, record.task.id})
        else:
            how = likeness(question, other) if question and other else 0.0
        if how >= ALIKE:
            alike.append((how, promotion.id, record.task.name, certificate))
    for _, _, name, certificate in sorted(alike, key=lambda one: one[:2], reverse=True)[
        :MOST_TRIED
    ]:
        yield name, certificate


def _same_answers(state: TaskState) -> str:
    """Return the name of a task that is no question and has a question's answers, ``""`` if none.

    Only of a choice: that something is true, or of a level, says nothing of what was asked.
    """
    question = state.subject.record.task.question
    if question is None or question.type != "choice":
        return ""
    mine = {text.casefold() for text in question.answers}
    for record, _, certificate in _promoted(state):
        if record.task.question is None:
            candidate = state.registry.candidate(certificate.student)
            others = {text.casefold() for text in candidate.surfaces}
            if len(mine & others) >= ALIKE * len(mine | others):
                return record.task.name
    return ""


def _fits(state: TaskState, candidate: Candidate) -> bool:
    """Return whether a student can read this task's inputs: of both it is the one variable."""
    inputs = state.data.inputs
    return (
        candidate.variables == (0,)
        and all(len(values) == 1 for values in inputs)
        and (candidate.slicer.variable is None or candidate.task_id == state.task_id)
    )


def _spelled(state: TaskState, candidate: Candidate) -> dict[str, str]:
    """Return how this task spells each of a student's answers, as far as it has them."""
    record = state.subject.record
    question = record.task.question
    known = dict(state.data.surfaces)
    if question is not None:
        known = {
            canonical_answer(Answer(text), record.form, record.folds): text
            for text in question.answers
        }
    answers = candidate.surfaces
    return {text: known[text] for text in answers if text in known} or dict(answers)


def _is_good(state: TaskState, candidate: Candidate, threshold: float) -> bool:
    """Return whether a student does well on the task's exchanges so far."""
    if not _fits(state, candidate):
        return False
    data = state.data.to_train()
    student = state.registry.load(candidate, state.subject.resources)
    texts, confidence = student.answer(data.inputs)
    spelled = _spelled(state, candidate)
    answered = (confidence >= threshold) & np.array([text in spelled for text in texts], np.bool_)
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
    before = registry.files.fetch(candidate.id, candidate.files)
    shutil.copytree(before, registry.files.folder(student_id))
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
        surfaces=_spelled(state, candidate),
        accepted=accepted(state.data.settings),
        lineage=msgspec.structs.replace(lineage, student=student_id, task=state.task_id),
        matcher=registry.matcher_of(state.task_id),
        inherited=candidate.task_id,
    )
    shadow = restarted(taken, attempt, after_seq=state.newest)
    registry.add_candidate(shadow)
    return shadow
