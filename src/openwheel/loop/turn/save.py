"""Students on disk and in the registry: those that are judged, and dear ones that are not."""

import secrets
import shutil

from openwheel.gate import spent
from openwheel.gate.judge import Method
from openwheel.loop.data import TaskData
from openwheel.loop.records import Candidate, accepted
from openwheel.loop.registry import Registry
from openwheel.loop.subject import Subject
from openwheel.loop.turn.choose import Trained, is_dear
from openwheel.loop.turn.lineage import make_lineage
from openwheel.students import copy_student, save_student


def save_candidate(
    registry: Registry,
    subject: Subject,
    trained: Trained,
    training: TaskData,
    *,
    trained_until: int,
    method: Method,
    share: float = 1.0,
    outside: tuple[str, ...] = (),
    refused: str = "",
) -> Candidate:
    """Count the attempt, save the student's files and register it as shadowing.

    One that is refused before it is judged is no attempt, and is registered as refused. The order
    matters: files without a record are only garbage, a record without files would be a student
    that cannot answer.
    """
    settings, task_id = subject.settings, subject.record.task.id
    attempt = 0 if refused else registry.attempt(task_id)
    student_id = f"{trained.student.rung}-{secrets.token_hex(6)}"
    folder = registry.files.folder(student_id)
    if trained.files is None:
        files = save_student(trained.student, folder)
    else:
        files = copy_student(trained.files, folder)
    candidate = Candidate(
        id=student_id,
        task_id=task_id,
        rung=trained.student.rung,
        files=files,
        attempt=attempt,
        epsilon=settings.epsilon,
        delta=settings.delta,
        delta_spent=spent(settings.delta, attempt) if attempt else 0.0,
        plan=trained.plan,
        slicer=trained.slicer,
        variables=trained.variables,
        surfaces={answer: training.surfaces[answer] for answer in trained.student.answers},
        trained_until=trained_until,
        coverage=trained.coverage,
        enough=trained.enough,
        training=training.window(),
        method=method,
        share=share,
        accepted=accepted(training.settings),
        form=subject.record.form,
        folds=subject.record.folds,
        compare=subject.compared.setting if subject.compared else "exact",
        compared=subject.compared,
        lineage=make_lineage(trained.student, student_id, task_id, training, settings.policy),
        matcher=registry.matcher_of(task_id),
        critical=subject.critical,
        outside=outside,
        refused=refused,
    )
    registry.add_candidate(candidate)
    return candidate


def keep_refused(
    registry: Registry,
    subject: Subject,
    trained: Trained,
    training: TaskData,
    *,
    outside: tuple[str, ...],
    refused: str = "",
) -> None:
    """Keep the students of dear rungs that are not tried, in place of earlier ones of their rung.

    They took long to train, and may shadow later (`by_hand.shadow_by_hand`).

    Args:
        outside: The keys that they leave to the teacher.
        refused: Why the best one is not tried, ``""`` if it is.
    """
    if not subject.comparison.equality and subject.compared is None:
        return  # the judge was not measured, so nothing says by what they would be compared
    reasons = [(other, _not_better(other, trained)) for other in trained.others]
    if refused and is_dear(trained.student.rung):
        reasons.append((trained, refused))
    for untried, reason in reasons:
        _forget_untried(registry, subject.record.task.id, untried.student.rung)
        save_candidate(
            registry,
            subject,
            untried,
            training,
            trained_until=int(training.seq.max()),
            method="anytime",
            outside=outside,
            refused=reason,
        )


def _not_better(other: Trained, best: Trained) -> str:
    return (
        f"{best.student.rung} is predicted to do as well: it would cover {best.coverage:.1%} and "
        f"agrees on {best.agreement:.1%}, this one {other.coverage:.1%} and {other.agreement:.1%}"
    )


def _forget_untried(registry: Registry, task_id: str, rung: str) -> None:
    for candidate, _, _ in registry.candidates(task_id=task_id, state="refused"):
        if candidate.rung == rung and not candidate.attempt:
            registry.withdraw(candidate.id)
            shutil.rmtree(registry.files.folder(candidate.id), ignore_errors=True)
