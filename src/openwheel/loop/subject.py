"""A task with all that a turn needs to work on it."""

from collections import Counter
from pathlib import Path

import msgspec

from openwheel.errors import SettingError
from openwheel.gate import Compared
from openwheel.loop.data import TaskData
from openwheel.loop.judging import JudgeCache, TeacherJudge, asked_twice, believed
from openwheel.loop.records import Candidate, TaskRecord
from openwheel.loop.registry import Registry
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.store import BY_STUDENTS
from openwheel.students.encoder import TextEncoder
from openwheel.tasks import FORMS, Inputs, canonical_answer
from openwheel.tasks.compare import (
    EXACT,
    Chosen,
    Comparison,
    FieldsComparison,
    FieldSettings,
    Given,
    Pair,
    make_comparison,
    read_comparison,
)
from openwheel.tasks.compare.decisions import HALF_A_LEVEL
from openwheel.tasks.compare.kinds import JUDGE
from openwheel.tasks.hints import section
from openwheel.wire import Answer, Question


class Subject(msgspec.Struct, frozen=True):
    """A task to learn.

    Attributes:
        record: The task.
        settings: The user's settings.
        resources: What rungs need from outside.
        comparison: How two answers are compared.
        work: Folder for a training under way.
        compared: How answers are compared, as a certificate has it; None for plain equality, and
            for a judge until it is `believed`.
    """

    record: TaskRecord
    settings: LoopSettings
    resources: Resources
    comparison: Comparison
    work: Path
    compared: Compared | None = None

    @property
    def rungs(self) -> tuple[str, ...]:
        """The rungs that may be tried on it."""
        return self.settings.rungs_for(self.record.form)

    @property
    def critical(self) -> tuple[str, ...]:
        """The canonical answers that a student must not miss."""
        named = self.settings.task(self.record.task.name).critical
        return tuple(canonical_answer(Answer(text), "label", self.record.folds) for text in named)

    @property
    def possible(self) -> tuple[str, ...] | None:
        """The answers that clients can be given; None if they may be any."""
        question = self.record.task.question
        return None if question is None else question.answers

    @property
    def bounded(self) -> bool:
        """Whether a loss may lie strictly between 0 and 1."""
        return self.comparison.bounded

    @property
    def by_field(self) -> FieldSettings:
        """How its records are compared."""
        return self.settings.by_field(self.record.task.name)

    def as_certified(self, candidate: Candidate) -> "Subject":
        """Return the task as a candidate was trained for it."""
        record, comparison = candidate.as_certified(self.record), self.comparison
        if comparison.equality or isinstance(comparison, FieldsComparison):
            comparison = candidate.comparison() or comparison
        return msgspec.structs.replace(self, record=record, comparison=comparison)

    def request_of(self, inputs: Inputs) -> str:
        """Return the request that has these inputs, as text, for a judge."""
        template = self.record.task.template
        if template is None:
            return "\n".join(inputs)
        return "\n\n".join(part for part in template.render(inputs) if part)


def subject_of(
    registry: Registry, record: TaskRecord, settings: LoopSettings, resources: Resources
) -> Subject:
    """Return the subject of a turn for a task.

    Raises:
        SettingError: The comparison that the user chose does not suit the task's answers, or
            something that it needs is missing.
    """
    name = record.task.name
    settings = settings.of_task(name)
    chosen = settings.comparison(name) or default_comparison(record.task.question)
    judge = None
    if chosen.kind == JUDGE.name and resources.connect is not None:
        judge = TeacherJudge(
            resources.connect,
            JudgeCache(registry.store, record.task.id),
            model=_judge_model(registry, record, settings),
            budget=settings.task(name).judge_budget,
        )
    comparison = comparison_of(record, settings, resources.encoder, judge)
    plain = comparison.equality and not record.folds
    compared, by_field = None, settings.by_field(name)
    if judge is None and not plain:
        compared = Compared(
            comparison.setting,
            comparison.fingerprint,
            loss="" if by_field.loss == "record" else by_field.loss,
            fields=by_field.fields,
        )
    work = registry.files.workplace(record.task.id)
    return Subject(record, settings, resources, comparison, work, compared)


def comparison_of(
    record: TaskRecord,
    settings: LoopSettings,
    encoder: TextEncoder | None,
    judge: TeacherJudge | None = None,
) -> Comparison:
    """Return how two answers of a task are compared.

    Raises:
        SettingError: The comparison that the user chose does not suit the task's answers, or
            something that it needs is missing.
    """
    name, question = record.task.name, record.task.question
    chosen = settings.comparison(name) or default_comparison(question)
    try:
        by_field = settings.by_field(name)
        given = Given(record.form, record.folds, encoder, judge, question, by_field)
        return make_comparison(chosen, given)
    except SettingError as error:
        raise SettingError(f"tasks.{name}: {error}") from None


def default_comparison(question: Question | None) -> Chosen:
    """Return how answers are compared where the user chose nothing."""
    scored = question is not None and question.type == "score"
    return read_comparison(HALF_A_LEVEL) if scored else EXACT


def _judge_model(registry: Registry, record: TaskRecord, settings: LoopSettings) -> str:
    """Return the judge's model: the chosen one, the earlier one, or the one that answered most.

    Raises:
        SettingError: No model is known.
    """
    if chosen := settings.task(record.task.name).judge_model:
        return chosen
    for candidate, _, _ in reversed(registry.candidates(task_id=record.task.id)):
        if candidate.compared is not None and candidate.compared.model:
            return candidate.compared.model
    answered = Counter(
        row.model
        for row in registry.store.task_rows(record.task.id)
        if row.source not in BY_STUDENTS
    )
    answered.pop("", None)
    if not answered:
        raise SettingError(
            f"tasks.{record.task.name}: no exchange says which model answered; name the one that "
            "judges: judge_model"
        )
    return answered.most_common(1)[0][0]


def believed_by(subject: Subject, training: TaskData) -> Subject:
    """Measure a subject's judge on training exchanges, and return the subject with it.

    Raises:
        SettingError: The judge is not consistent enough; the message says why.
        TeacherError: The judge could not be asked.
    """
    judge = subject.comparison
    if not isinstance(judge, TeacherJudge):
        return subject
    pairs = [
        Pair(subject.request_of(values), Answer(text), Answer(text))
        for values, text in zip(training.inputs, training.texts, strict=True)
    ]
    compared = believed(judge, pairs, asked_twice(pairs), subject.settings.epsilon)
    return msgspec.structs.replace(subject, compared=compared)


def why_left(record: TaskRecord, settings: LoopSettings) -> str:
    """Return why no student may learn a task, ``""`` if one may."""
    form = FORMS[record.form]
    if form.left is not None:
        return record.form_reason + form.left
    if form.asks_for_comparison and settings.comparison(record.task.name) is None:
        return (
            f"{record.form_reason} Texts are left to the teacher until you choose how two of them "
            f"are compared: compare under {section(record.task.name)}."
        )
    if not settings.rungs_for(record.form):
        return f"{record.form_reason} No rung that may be tried answers the form {record.form}."
    return ""
