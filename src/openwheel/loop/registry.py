"""Keeps the registry: tasks, students, certificates, promotions and turns."""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from openwheel.errors import OpenwheelError, SettingError, StudentFileError
from openwheel.gate import Certificate, spent, verify
from openwheel.loop.files import StudentFiles, files_of
from openwheel.loop.leases import of_task
from openwheel.loop.records import (
    AuditPlan,
    Beyond,
    By,
    Candidate,
    Event,
    Promotion,
    State,
    TaskRecord,
    Turn,
)
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.store import (
    Store,
    Transaction,
    certificates,
    leases,
    promotions,
    stops,
    students,
    tasks,
    turns,
)
from openwheel.store.promotions import PromotionRow
from openwheel.store.stops import Stop
from openwheel.store.tasks import StoredTask
from openwheel.students import Student, check_files, load_student, read_reliability, rungs
from openwheel.students.calibration import ReliabilityBin
from openwheel.students.files import SETTINGS
from openwheel.tasks import Form, Task, TaskMatcher
from openwheel.trust import Policy


class Registry:
    """Reads and writes the registry in a store.

    Args:
        files: Where students' files are; by default those of the store.
    """

    def __init__(self, store: Store, files: StudentFiles | None = None) -> None:
        self.store = store
        self.files = files_of(store) if files is None else files

    def version(self) -> tuple[int, ...]:
        """Return a version that changes with tasks, students, audit plans and turns.

        With turns, since the share audited for a student that waits depends on the coverage since.
        With stops, since no student answers then.
        """
        with self.store.read() as transaction:
            return promotions.version(transaction)

    def tasks(self) -> list[TaskRecord]:
        """Return all tasks, oldest first."""
        with self.store.read() as transaction:
            return [_record(row) for row in tasks.read(transaction)]

    def task(self, task_id: str) -> TaskRecord | None:
        """Return the task of an id, None if there is none."""
        with self.store.read() as transaction:
            found = [_record(row) for row in tasks.read(transaction, task_id)]
        return found[0] if found else None

    def find_task(self, name: str) -> TaskRecord:
        """Return the task of a name or id.

        Raises:
            SettingError: There is none.
        """
        records = self.tasks()
        for record in records:
            if name in {record.task.id, record.task.name}:
                return record
        names = ", ".join(record.task.name for record in records) or "none yet"
        raise SettingError(f"There is no task {name!r}; the tasks are: {names}")

    def add_tasks(self, new_tasks: Sequence[Task]) -> None:
        """Add tasks; their form is unknown at first."""
        reason = "No answers were looked at yet."
        with self.store.write() as transaction:
            for task in new_tasks:
                tasks.add(transaction, task.id, task.name, task, form_reason=reason)

    def remove_tasks(self, displaced: Sequence[Task]) -> list[Task]:
        """Remove those tasks of which no student was ever judged, and that no learner is at.

        Returns:
            The tasks that were removed.
        """
        removed = []
        with self.store.write() as transaction:
            for task in displaced:
                name, holder = of_task(task.id), "removing"
                token = leases.acquire(transaction, name, holder, seconds=None)
                if token is None:
                    continue
                if tasks.remove(transaction, task.id):
                    removed.append(task)
                leases.release(transaction, name, holder, token, done=None)
        return removed

    def beyond(self) -> Beyond:
        """Return the tasks that were left out when tasks were last looked for."""
        with self.store.read() as transaction:
            body = tasks.read_beyond(transaction)
        return Beyond() if body is None else msgspec.json.decode(body, type=Beyond)

    def set_beyond(self, beyond: Beyond) -> None:
        """Note the tasks that are left out."""
        if beyond != self.beyond():
            with self.store.write() as transaction:
                tasks.set_beyond(transaction, beyond)

    def set_form(self, task_id: str, form: Form, reason: str, folds: tuple[str, ...] = ()) -> None:
        """Set the form and the folds of a task's answers."""
        self.set_forms([(task_id, form, reason, folds)])

    def set_forms(self, forms: Sequence[tuple[str, Form, str, tuple[str, ...]]]) -> None:
        """Set the forms of tasks in one transaction, each given as to `set_form`."""
        with self.store.write() as transaction:
            for row in forms:
                tasks.set_form(transaction, *row)

    def set_trained_on(self, task_id: str, labelled: int) -> None:
        """Note on how many labelled exchanges a task was last trained."""
        with self.store.write() as transaction:
            tasks.set_trained_on(transaction, task_id, labelled)

    def attempt(self, task_id: str) -> int:
        """Count one more attempt on a task and return its number, from 1.

        It is committed before a calibration label is read: a process that is killed spends delta.
        """
        with self.store.write() as transaction:
            return tasks.count_attempt(transaction, task_id)

    def matcher_of(self, task_id: str) -> str:
        """Return the fingerprint of a task's matcher, which identifies the prompts it takes."""
        known_tasks = [record.task for record in self.tasks()]
        matcher = TaskMatcher(known_tasks)
        return next(matcher.fingerprint(task) for task in known_tasks if task.id == task_id)

    def set_matcher(self, candidate: Candidate, matcher: str) -> None:
        """Note which prompts a student is for."""
        with self.store.write() as transaction:
            updated = msgspec.structs.replace(candidate, matcher=matcher)
            students.put(transaction, candidate.id, updated)

    def judges(self, task_id: str, until: int) -> None:
        """Note, before a label is read, that exchanges up to one judge, or are in a verdict."""
        with self.store.write() as transaction:
            tasks.set_judged(transaction, task_id, until)

    def judged_until(self, task_id: str) -> int:
        """Return up to which exchange of a task verdicts were given, or a student was trained."""
        with self.store.read() as transaction:
            until = tasks.judged_until(transaction, task_id)
            trained = students.read(transaction, Candidate, task_id=task_id)
        judged = (candidate for candidate, _, _ in trained if candidate.attempt)
        return max([until, *(candidate.trained_until for candidate in judged)])

    def find_student(self, name: str) -> Candidate:
        """Return the student of an id, or of the start of one.

        Raises:
            SettingError: There is no such student, or the start of an id is not enough.
        """
        candidates = [candidate for candidate, _, _ in self.candidates()]
        matches = [candidate for candidate in candidates if candidate.id.startswith(name)]
        exact = [candidate for candidate in matches if candidate.id == name] or matches
        if len(exact) != 1:
            state = "no student" if not matches else f"{len(matches)} students"
            raise SettingError(f"There is {state} {name!r}; `openwheel students` lists them")
        return exact[0]

    def add_candidate(self, candidate: Candidate) -> None:
        """Add a student, which shadows from now on in place of any that did; or is refused.

        Raises:
            StudentFileError: Its files cannot be had by all who may load it.
        """
        self.files.publish(candidate.id, candidate.files)
        with self.store.write() as transaction:
            self.files.require_published(transaction, candidate.id, candidate.files)
            if not candidate.refused:
                students.move(transaction, candidate.task_id, "shadow", "replaced")
            students.add(
                transaction,
                candidate.id,
                candidate.task_id,
                rung=candidate.rung,
                state="refused" if candidate.refused else "shadow",
                body=candidate,
            )

    def refuse(self, candidate: Candidate, reason: str) -> None:
        """Give a student up, and keep why."""
        with self.store.write() as transaction:
            anew = msgspec.structs.replace(candidate, refused=reason)
            students.put(transaction, candidate.id, anew)
            students.set_state(transaction, candidate.id, "refused")

    def shadow(self, candidate: Candidate, *, after_seq: int) -> Candidate:
        """Have a student that was given up shadow: a new attempt, judged on what comes after.

        It replaces the shadow of its task.
        """
        matcher = self.matcher_of(candidate.task_id)
        with self.store.write() as transaction:
            attempt = tasks.count_attempt(transaction, candidate.task_id)
            anew = restarted(candidate, attempt, after_seq=after_seq)
            anew = msgspec.structs.replace(anew, refused="", matcher=matcher)
            students.move(transaction, candidate.task_id, "shadow", "replaced")
            students.put(transaction, candidate.id, anew)
            students.set_state(transaction, candidate.id, "shadow")
        return anew

    def set_state(self, student_id: str, state: State) -> None:
        """Set a student's state."""
        with self.store.write() as transaction:
            students.set_state(transaction, student_id, state)

    def withdraw(self, student_id: str) -> None:
        """Forget a student whose judging stopped before a verdict was shown; its attempt counts."""
        with self.store.write() as transaction:
            students.delete(transaction, student_id)

    def candidates(
        self, *, task_id: str | None = None, state: State | None = None
    ) -> list[tuple[Candidate, str, float]]:
        """Return students with their states and times of creation, oldest first."""
        with self.store.read() as transaction:
            return students.read(transaction, Candidate, task_id=task_id, state=state)

    def candidate(self, student_id: str) -> Candidate:
        """Return one student's record."""
        with self.store.read() as transaction:
            return students.find(transaction, Candidate, student_id)

    def load(self, candidate: Candidate, resources: Resources = NO_RESOURCES) -> Student:
        """Load a student's files.

        Raises:
            StudentFileError: They are missing, corrupt, or not those that were saved.
            EngineError: No engine serves them now.
        """
        serve = resources.adapters.serve if resources.adapters is not None else None
        folder = self.files.fetch(candidate.id, candidate.files)
        return load_student(folder, candidate.files, resources.encoder, serve, resources.encoders)

    def check(self, candidate: Candidate) -> None:
        """Check that a student can be loaded, or that its files are whole if it is served."""
        if rungs()[candidate.rung].asked == "remote":
            check_files(self.files.fetch(candidate.id, candidate.files), candidate.files)
        else:
            self.load(candidate)

    def reliability(self, candidate: Candidate) -> tuple[ReliabilityBin, ...]:
        """Return how reliable a student's own probabilities are, as `read_reliability`."""
        wanted = {name: sha256 for name, sha256 in candidate.files.items() if name == SETTINGS}
        try:
            return read_reliability(self.files.fetch(candidate.id, wanted))
        except OpenwheelError:
            return ()

    def in_use(self) -> set[str]:
        """Return the students that are promoted or shadow."""
        promoted = {
            promotion.certificate.student
            for promotion in self.promotions().values()
            if promotion.certificate is not None
        }
        return promoted | {candidate.id for candidate, _, _ in self.candidates(state="shadow")}

    def certificates(self, task_id: str | None = None) -> list[Certificate]:
        """Return certificates, oldest first."""
        with self.store.read() as transaction:
            return certificates.read(transaction, Certificate, task_id)

    def certify(self, certificate: Certificate) -> None:
        """Keep a certificate that holds; its student is certified from now on."""
        _require_holds(certificate)
        with self.store.write() as transaction:
            _keep(transaction, certificate)

    def promote(
        self,
        certificate: Certificate,
        *,
        by: By,
        reason: str,
        audit: float,
        canary: float = 1.0,
        policy: Policy | None = None,
        expected_promotion: int | None = None,
    ) -> bool:
        """Promote a certified student.

        A student that is promoted already keeps its audits, and the plan for more. A certificate
        that was not kept before is kept in the same write: a process killed between two writes
        would leave a certified student that no turn looks at again.

        Args:
            audit: The share of its requests to audit, at first.
            canary: The share of its task's requests that it may answer, at first.
            policy: May forbid it by its lineage; by default licences alone do.
            expected_promotion: The `Promotion.id` of the task when this was decided, 0 for none. If
                another has come since, the student is not promoted.

        Returns:
            Whether it was promoted.

        Raises:
            PolicyError: It may not be promoted; the message names the clause.
            SettingError: Recomputing the certificate shows that it does not hold.
        """
        _require_holds(certificate)
        made_of = self.candidate(certificate.student).made_of()
        (policy or Policy()).may_promote(made_of).require()
        task_id = certificate.task
        with self.store.write() as transaction:
            latest = promotions.latest(transaction, task_id)
            if expected_promotion is not None and latest != expected_promotion:
                return False
            if not certificates.is_kept(transaction, certificate.id):
                _keep(transaction, certificate)
            unchanged = promotions.student_of(transaction, latest) == certificate.student
            row = promotions.add(
                transaction, task_id, certificate.id, by=by, reason=reason, audit=audit
            )
            if not unchanged:
                plan = AuditPlan(audit=audit, canary=canary, reason="newly promoted")
                promotions.add_plan(transaction, row, plan)
        return True

    def demote(
        self, task_id: str, *, by: By, reason: str, expected_promotion: int | None = None
    ) -> bool:
        """Take a task's student off.

        Args:
            expected_promotion: As of `promote`: if another has come since, nothing is taken off.

        Returns:
            Whether it was taken off.
        """
        with self.store.write() as transaction:
            latest = promotions.latest(transaction, task_id)
            if expected_promotion is not None and latest != expected_promotion:
                return False
            promotions.add(transaction, task_id, None, by=by, reason=reason)
        return True

    def stopped(self) -> bool:
        """Return whether a person has stopped all students, so that teachers answer everything."""
        latest = self.stops(limit=1)
        return bool(latest) and latest[0].stopped

    def stops(self, *, limit: int) -> list[Stop]:
        """Return the latest stops and their ends, newest first."""
        with self.store.read() as transaction:
            return stops.read(transaction, limit=limit)

    def set_stopped(self, stopped: bool, *, by: str) -> bool:
        """Stop all students, or let them answer again; promotions stay as they are.

        Args:
            stopped: Whether teachers are to answer everything.
            by: Who decides it.

        Returns:
            Whether that was a change.
        """
        with self.store.write() as transaction:
            return stops.add(transaction, stopped=stopped, by=by)

    def promotions(self) -> dict[str, Promotion]:
        """Return the latest promotion or demotion of each task that ever had one, by task id.

        A student promoted again for more of the traffic keeps the audits it has had.
        """
        return self._promotions(None)

    def promotion(self, task_id: str) -> Promotion | None:
        """Return a task's latest promotion or demotion, None if it never had one."""
        return self._promotions(task_id).get(task_id)

    def _promotions(self, task_id: str | None) -> dict[str, Promotion]:
        with self.store.read() as transaction:
            # Its certificate is there before a promotion is.
            stored = certificates.read(transaction, Certificate, task_id)
            by_id = {certificate.id: certificate for certificate in stored}
            return read_promotions(transaction, by_id, task_id)

    def plans(self) -> dict[int, AuditPlan]:
        """Return how each promotion is audited now, by its `Promotion.since`."""
        with self.store.read() as transaction:
            return promotions.read_plans(transaction, AuditPlan)

    def add_turn(self, turn: Turn, seconds: float) -> None:
        """Record a turn and how long it took."""
        with self.store.write() as transaction:
            turns.add(transaction, turn.looked_at, turn.events, seconds=seconds)

    def last_turn(self) -> tuple[int, float] | None:
        """Return `Turn.looked_at` of the last turn, and its end in seconds since 1970."""
        with self.store.read() as transaction:
            return turns.last(transaction)

    def turns(self) -> list[Turn]:
        """Return the turns taken, oldest first; their numbers are not kept."""
        with self.store.read() as transaction:
            return [Turn(*row) for row in turns.read(transaction, tuple[Event, ...])]

    def latest_events(self, *, turns_back: int) -> list[tuple[float, Event]]:
        """Return the events of the latest turns with the times of their ends, newest turn first."""
        with self.store.read() as transaction:
            latest = turns.latest(transaction, tuple[Event, ...], limit=turns_back)
        return [(time, event) for time, events in latest for event in events]

    def promotion_rows(self) -> list[PromotionRow]:
        """Return every promotion and demotion, oldest first."""
        with self.store.read() as transaction:
            return promotions.read(transaction)


def _record(row: StoredTask) -> TaskRecord:
    return TaskRecord(
        msgspec.json.decode(row.task, type=Task),
        row.form,
        row.form_reason,
        row.attempts,
        row.trained_on,
        row.folds,
    )


def copy_students(source: Registry, target: Registry) -> int:
    """Copy the files of students that another registry does not have; return how many students.

    Raises:
        StudentFileError: The files of a student that answers, or may, are missing or corrupt.
        StoreError: They could not be read or written.
    """
    copied = 0
    for candidate, state, _ in source.candidates():
        try:
            folder = source.files.fetch(candidate.id, candidate.files)
            check_files(folder, candidate.files)
        except StudentFileError:
            if state in {"shadow", "certified"}:
                raise
            continue  # of a student that was given up, files may be gone
        place = target.files.folder(candidate.id)
        if not _has(place, candidate.files):
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f"{place.name}.part")
            for old in (part, place):
                shutil.rmtree(old, ignore_errors=True)
            shutil.copytree(folder, part)
            os.replace(part, place)
            copied += 1
        target.files.publish(candidate.id, candidate.files)
    return copied


def _has(folder: Path, files: Mapping[str, str]) -> bool:
    try:
        check_files(folder, files)
    except StudentFileError:
        return False
    return True


def _require_holds(certificate: Certificate) -> None:
    verification = verify(certificate)
    if not verification.holds:
        raise SettingError(f"The certificate does not hold: {'; '.join(verification.problems)}")


def _keep(transaction: Transaction, certificate: Certificate) -> None:
    """Keep a certificate; its student is certified from now on."""
    task_id, student_id = certificate.task, certificate.student
    certificates.add(
        transaction, certificate.id, certificate, task_id=task_id, student_id=student_id
    )
    students.set_state(transaction, student_id, "certified")


def read_promotions(
    transaction: Transaction, certificates: Mapping[str, Certificate], task_id: str | None = None
) -> dict[str, Promotion]:
    """Return the latest promotion or demotion of a task, or of each that ever had one, by its id.

    A student promoted again for more of the traffic keeps the audits it has had.
    """
    latest: dict[str, Promotion] = {}
    for row in promotions.read(transaction, task_id):
        before = latest.get(row.task_id)
        certificate = before.certificate if before is not None else None
        same_student = (
            before is not None and certificate is not None and certificate.student == row.student_id
        )
        latest[row.task_id] = Promotion(
            row.task_id,
            certificates[row.certificate_id] if row.certificate_id else None,
            row.by,
            row.reason,
            before.after_seq if before is not None and same_student else row.after_seq,
            row.audit,
            row.time,
            row.id,
            before.since if before is not None and same_student else row.id,
        )
    return latest


def begin_anew(
    transaction: Transaction,
    candidate: Candidate,
    *,
    after_seq: int,
    promotion: int | None,
    by: By,
    reason: str,
    **changed: Any,
) -> tuple[Candidate, int | None] | None:
    """Have a student judged on later exchanges alone, inside the caller's transaction.

    A promoted student is taken off first. It replaces the shadow of its task, and the task may
    train again.

    Args:
        after_seq: Evidence comes after this exchange.
        promotion: The `Promotion.id` by which it is in front of traffic, None if it shadows.
        changed: New values of other fields of the candidate.

    Returns:
        The shadowing student, and the row of the demotion if there was one; None, with nothing
        written, if it is neither promoted nor shadowing any more.
    """
    task_id = candidate.task_id
    if promotion is None and students.state_of(transaction, candidate.id) != "shadow":
        return None
    if promotion is not None and promotions.latest(transaction, task_id) != promotion:
        return None
    attempt = tasks.count_attempt(transaction, task_id)
    tasks.set_trained_on(transaction, task_id, 0)
    restarted_student = msgspec.structs.replace(
        restarted(candidate, attempt, after_seq=after_seq), **changed
    )
    students.move(transaction, task_id, "shadow", "replaced")
    students.set_state(transaction, candidate.id, "shadow")
    students.put(transaction, candidate.id, restarted_student)
    if promotion is None:
        return restarted_student, None
    return restarted_student, promotions.add(transaction, task_id, None, by=by, reason=reason)


def restarted(candidate: Candidate, attempt: int, *, after_seq: int) -> Candidate:
    """Return a student as a new attempt, judged on the exchanges after one.

    Its tests have all of the attempt's delta. With less delta than before they need more evidence,
    about in proportion to the logarithm of its inverse.
    """
    delta = spent(candidate.delta, attempt)
    before = candidate.delta_spent * candidate.share or delta  # none was spent on one not judged
    more = math.log(delta) / math.log(before)
    return msgspec.structs.replace(
        candidate,
        attempt=attempt,
        delta_spent=delta,
        share=1.0,
        method="anytime",
        judged_after=after_seq,
        enough=math.ceil(candidate.enough * max(more, 1.0)),
    )
