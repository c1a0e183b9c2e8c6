"""Promotes students by hand: after new evidence, or against the old evidence if asked to."""

from openwheel.errors import SettingError
from openwheel.gate import Certificate
from openwheel.loop.audit.records import read_alarms
from openwheel.loop.audit.shares import first_plan
from openwheel.loop.drift.records import read_changes
from openwheel.loop.records import Candidate
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings


def promote_by_hand(
    registry: Registry, settings: LoopSettings, name: str, *, against_evidence: bool = False
) -> Certificate:
    """Promote the latest certified student of a task, by its name or id; return its certificate.

    ``against_evidence`` promotes one that evidence took off as well. The promotion records that,
    and the student is a canary at first, as if a turn had promoted it.

    Raises:
        SettingError: There is no such task or certificate, or evidence speaks against it.
        StudentFileError: Its files are not those that were certified.
        PolicyError: It may not be promoted.
    """
    task = registry.find_task(name).task
    certified = registry.certificates(task.id)
    if not certified:
        raise SettingError(
            f"Task {task.name!r} has no certificate; only a certified student can be promoted"
        )
    latest = certified[-1]
    against = evidence_against(registry, latest)
    if against and not against_evidence:
        raise SettingError(
            f"Student {latest.student} was taken off by evidence that is newer than its "
            f"certificate: {against}. It takes a new certificate to put it back, or "
            "--against-evidence"
        )
    candidate = registry.candidate(latest.student)
    registry.check(candidate)  # files that changed must not serve
    plan = first_plan(settings, task.name, by_hand=not against)
    reason = "promoted by hand"
    registry.promote(
        latest,
        by="override" if against else "user",
        reason=f"{reason} against the evidence: {against}" if against else reason,
        audit=plan.audit,
        canary=plan.canary,
        policy=settings.policy,
    )
    if against:
        registry.set_matcher(candidate, registry.matcher_of(task.id))  # for these prompts as well
    return latest


def shadow_by_hand(
    registry: Registry, settings: LoopSettings, name: str
) -> tuple[Candidate, Candidate | None]:
    """Have a student that was given up shadow: a new attempt, judged on what comes from now on.

    It is named by its id, or the start of it. Returned with it is the one that shadowed until now,
    if there is one.

    Raises:
        SettingError: There is no such student, or it cannot shadow.
        StudentFileError: Its files are not those that were saved.
        PolicyError: It could not be promoted.
    """
    student = registry.find_student(name)
    state = next(s for candidate, s, _ in registry.candidates() if candidate.id == student.id)
    if state not in {"refused", "replaced"}:
        raise SettingError(
            f"Only a student that was refused or replaced can shadow by hand; {student.id} is in "
            f"the state {state}"
        )
    record = next(row for row in registry.tasks() if row.task.id == student.task_id)
    if not student.compares(record, settings.by_field(record.task.name)):
        raise SettingError(
            f"Answers of the task {record.task.name!r} are read or compared otherwise than when "
            f"{student.id} was trained; train another"
        )
    if not student.plan.thresholds:
        raise SettingError(
            f"Training found no threshold at which {student.id} might be certified, so shadowing "
            "would be in vain"
        )
    registry.check(student)
    settings.policy.may_promote(student.made_of()).require()
    before = [
        shadow for shadow, _, _ in registry.candidates(task_id=student.task_id, state="shadow")
    ]
    anew = registry.shadow(student, after_seq=registry.store.last_seq())
    return anew, before[-1] if before else None


def evidence_against(registry: Registry, certificate: Certificate) -> str:
    """Return the evidence against a student, or a slice of it, since its certificate's evidence.

    This is an alarm of its audits, another teacher, or other prompts. A judge's spent budget is
    no evidence. ``""`` if there is none.
    """
    first, student = certificate.calibration_window.first_seq, certificate.student
    candidate = registry.candidate(student)
    prompts = {"", registry.matcher_of(certificate.task)}
    reasons = [
        row.alarm.reason
        for row in read_alarms(registry.store, certificate.task)
        if row.alarm.student == student and row.alarm.by != "judge" and row.alarm.after_seq >= first
    ]
    reasons += [
        row.change.reason
        for row in read_changes(registry.store, certificate.task)
        if row.change.student == student and row.change.after_seq >= first
    ]
    if candidate.matcher not in prompts or (candidate.judged_after >= first and not reasons):
        reasons.append("its task takes other prompts than it was certified for")
    return "; ".join(reasons)
