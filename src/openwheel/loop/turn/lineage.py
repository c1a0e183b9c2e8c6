"""Writes students' lineages when they are trained, and reads them with their certificates."""

import datetime
import platform
from collections import Counter

import msgspec

from openwheel import __version__
from openwheel.gate import Window
from openwheel.loop.data import TaskData
from openwheel.loop.registry import Registry
from openwheel.students import Student
from openwheel.trust import (
    Certified,
    DataWindow,
    Decision,
    Lineage,
    Policy,
    TaughtBy,
)


def make_lineage(
    student: Student, student_id: str, task_id: str, training: TaskData, policy: Policy
) -> Lineage:
    """Make the lineage of a student that was just trained under a policy."""
    decisions: list[Decision] = []
    overrides: dict[str, str] = {}

    def note(decision: Decision, *names: str) -> None:
        decisions.append(decision)
        if decision.override:
            overrides.update(policy.overrides_of(*names))

    base = student.base()
    if base is not None:
        terms = policy.terms_of_base(base.id)
        base = msgspec.structs.replace(base, licences=terms.names)
        note(policy.may_train(base.id), *terms.names, terms.checkpoint)
    taught = []
    for origin, exchanges in Counter(training.origins).most_common():
        terms = policy.terms_of(*origin)
        taught.append(
            TaughtBy(
                teacher=origin.teacher,
                model=origin.model,
                exchanges=exchanges,
                checkpoint=terms.checkpoint,
                licences=terms.names,
                told_by=terms.told_by,
                training=terms.training,
                terms=terms.terms,
                jurisdiction=terms.jurisdiction,
            )
        )
        note(policy.may_learn_from(*origin), *terms.names, terms.checkpoint)
    return Lineage(
        student=student_id,
        task=task_id,
        rung=student.rung,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        base=base,
        taught_by=tuple(taught),
        left_out=training.left_out,
        training=_window(training.window()),
        decisions=tuple(decisions),
        overrides=overrides,
        conditions=tuple(dict.fromkeys(c for decision in decisions for c in decision.conditions)),
        versions={"openwheel": __version__, "python": platform.python_version()},
    )


def lineage_of(registry: Registry, student_id: str) -> Lineage:
    """Return a student's lineage, with its certificates and files.

    Raises:
        SettingError: There is no such student, or the start of an id is not enough.
    """
    candidate = registry.find_student(student_id)
    names = {record.task.id: record.task.name for record in registry.tasks()}
    return msgspec.structs.replace(
        candidate.made_of(),
        task_name=names.get(candidate.task_id, ""),
        files=candidate.files,
        certificates=tuple(
            Certified(
                id=certificate.id,
                statement=certificate.statement,
                epsilon=certificate.epsilon,
                delta=certificate.delta,
                coverage=certificate.coverage,
                bound=certificate.bound,
                threshold=certificate.threshold,
                calibration_sha256=certificate.calibration_window.sha256,
                created=certificate.created,
            )
            for certificate in registry.certificates(candidate.task_id)
            if certificate.student == candidate.id
        ),
    )


def _window(window: Window) -> DataWindow:
    return DataWindow(
        window.exchanges,
        window.first_seq,
        window.last_seq,
        window.first_time,
        window.last_time,
        window.sha256,
    )
