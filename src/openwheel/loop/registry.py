"""The registry: which tasks there are, what was tried on them, and what is promoted."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from openwheel.errors import SettingError
from openwheel.gate import Certificate, verify
from openwheel.loop import schema
from openwheel.loop.promotions import (
    AuditPlan,
    By,
    Promotion,
    add_plan,
    add_promotion,
    is_in_front,
    latest_row,
    read_plans,
    read_promotions,
)
from openwheel.loop.records import Candidate, Event, State, TaskRecord, Turn
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.turn.failures import ended
from openwheel.store import Store
from openwheel.store.feedback import table as feedback
from openwheel.students import Student, load_student
from openwheel.tasks import Form, Task, TaskMatcher
from openwheel.trust import Policy

# Rows as they came. Their times would do, had no clock ever been set back.
_AS_THEY_CAME: sa.ColumnElement[int] = sa.literal_column("rowid", sa.Integer)


class Registry:
    """Reads and writes the registry in a traffic store's file."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.students_folder = store.path.with_name(store.path.name + ".students")
        store.create_tables()

    def version(self) -> tuple[int, ...]:
        """Return what changes whenever a task is found, a student comes, goes or shadows.

        It changes too with every new plan for the audits of one, and with every turn: how much is
        audited for a student that waits depends on what was covered since.
        """
        students = schema.students
        shadows = sa.select(sa.func.count()).where(students.c.state == "shadow")
        query = sa.select(
            sa.select(sa.func.coalesce(sa.func.max(schema.promotions.c.id), 0)).scalar_subquery(),
            sa.select(sa.func.count()).select_from(schema.tasks).scalar_subquery(),
            sa.select(sa.func.count()).select_from(students).scalar_subquery(),
            shadows.scalar_subquery(),
            sa.select(sa.func.coalesce(sa.func.max(schema.audit_plans.c.id), 0)).scalar_subquery(),
            sa.select(sa.func.coalesce(sa.func.max(schema.turns.c.id), 0)).scalar_subquery(),
        )
        with self.store.read() as connection:
            return tuple(connection.execute(query).one())

    def tasks(self) -> list[TaskRecord]:
        """Return all tasks, oldest first."""
        table = schema.tasks
        with self.store.read() as connection:
            rows = connection.execute(sa.select(table).order_by(_AS_THEY_CAME)).all()
            kept = connection.execute(sa.select(schema.task_folds)).all()
        folds = {row.task_id: row.folds for row in kept}
        return [
            TaskRecord(
                msgspec.json.decode(row.task, type=Task),
                row.form,
                row.form_reason,
                row.attempts,
                row.trained_on,
                msgspec.json.decode(folds.get(row.id, b"[]"), type=tuple[str, ...]),
            )
            for row in rows
        ]

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

    def add_tasks(self, tasks: Sequence[Task]) -> None:
        """Add tasks; their form is unknown at first."""
        now = time.time()
        with self.store.write() as connection:
            for task in tasks:
                connection.execute(
                    sa.insert(schema.tasks).values(
                        id=task.id,
                        name=task.name,
                        task=msgspec.json.encode(task),
                        form="unknown",
                        form_reason="No answers were looked at yet.",
                        attempts=0,
                        trained_on=0,
                        created=now,
                    )
                )

    def set_form(self, task_id: str, form: Form, reason: str, folds: tuple[str, ...] = ()) -> None:
        """Set the form of a task's answers, and how they may differ and still be one."""
        table, kept = schema.tasks, schema.task_folds
        body = msgspec.json.encode(folds)
        with self.store.write() as connection:
            connection.execute(
                sa.update(table).where(table.c.id == task_id).values(form=form, form_reason=reason)
            )
            added = sqlite.insert(kept).values(task_id=task_id, folds=body)
            connection.execute(
                added.on_conflict_do_update(index_elements=["task_id"], set_={"folds": body})
            )

    def set_trained_on(self, task_id: str, labelled: int) -> None:
        """Note on how many labelled exchanges a task was last trained."""
        self._update(task_id, trained_on=labelled)

    def _update(self, task_id: str, **values: Any) -> None:
        table = schema.tasks
        with self.store.write() as connection:
            connection.execute(sa.update(table).where(table.c.id == task_id).values(**values))

    def attempt(self, task_id: str) -> int:
        """Count one more attempt on a task and return its number, from 1.

        Committed before any calibration label is looked at, so that a process killed in between
        has spent its share of delta.
        """
        table = schema.tasks
        with self.store.write() as connection:
            connection.execute(
                sa.update(table).where(table.c.id == task_id).values(attempts=table.c.attempts + 1)
            )
            query = sa.select(table.c.attempts).where(table.c.id == task_id)
            return int(connection.execute(query).scalar_one())

    def matcher_of(self, task_id: str) -> str:
        """Return the fingerprint of which prompts belong to a task now."""
        tasks = [record.task for record in self.tasks()]
        matcher = TaskMatcher(tasks)
        return next(matcher.fingerprint(task) for task in tasks if task.id == task_id)

    def set_matcher(self, candidate: Candidate, matcher: str) -> None:
        """Note which prompts a student is for."""
        body = msgspec.json.encode(msgspec.structs.replace(candidate, matcher=matcher))
        table = schema.students
        with self.store.write() as connection:
            connection.execute(
                sa.update(table).where(table.c.id == candidate.id).values(candidate=body)
            )

    def judges(self, task_id: str, until: int) -> None:
        """Note that a task's exchanges up to one are about to judge, or to be shown with a verdict.

        Committed before a label is looked at, like the attempt.
        """
        table = schema.judged
        added = sqlite.insert(table).values(task_id=task_id, until=until)
        later = {"until": sa.func.max(table.c.until, added.excluded.until)}
        with self.store.write() as connection:
            connection.execute(added.on_conflict_do_update(index_elements=["task_id"], set_=later))

    def judged_until(self, task_id: str) -> int:
        """Return up to which exchange of a task verdicts were given, 0 if none ever was.

        What a student was trained on counts, too: its trade-off was shown.
        """
        judged, students = schema.judged, schema.students
        bodies = sa.select(students.c.candidate).where(students.c.task_id == task_id)
        with self.store.read() as connection:
            row = connection.execute(sa.select(judged.c.until).where(judged.c.task_id == task_id))
            until: int = row.scalar_one_or_none() or 0
            trained = [
                msgspec.json.decode(body, type=Candidate).trained_until
                for (body,) in connection.execute(bodies)
            ]
        return max([until, *trained])

    def add_candidate(self, candidate: Candidate) -> None:
        """Add a student that shadows from now on, in place of any that did before."""
        table = schema.students
        spoken = sa.select(sa.func.max(feedback.c.first))
        with self.store.write() as connection:
            # What it may have been trained on was said before it, also by a clock that was ahead.
            known = connection.execute(spoken).scalar_one() or 0.0
            connection.execute(
                sa.update(table)
                .where(table.c.task_id == candidate.task_id, table.c.state == "shadow")
                .values(state="replaced")
            )
            connection.execute(
                sa.insert(table).values(
                    id=candidate.id,
                    task_id=candidate.task_id,
                    rung=candidate.rung,
                    state="shadow",
                    candidate=msgspec.json.encode(candidate),
                    created=max(time.time(), known),
                )
            )

    def set_state(self, student_id: str, state: State) -> None:
        """Set a student's state."""
        table = schema.students
        with self.store.write() as connection:
            connection.execute(sa.update(table).where(table.c.id == student_id).values(state=state))

    def withdraw(self, student_id: str) -> None:
        """Forget a student whose judging was stopped: nobody saw a verdict.

        The exchanges that were to judge it may then judge another. Its attempt stays counted.
        """
        table = schema.students
        with self.store.write() as connection:
            connection.execute(sa.delete(table).where(table.c.id == student_id))

    def candidates(
        self, *, task_id: str | None = None, state: State | None = None
    ) -> list[tuple[Candidate, str, float]]:
        """Return students with their states and times of creation, oldest first."""
        table = schema.students
        query = sa.select(table).order_by(_AS_THEY_CAME)
        if task_id is not None:
            query = query.where(table.c.task_id == task_id)
        if state is not None:
            query = query.where(table.c.state == state)
        with self.store.read() as connection:
            rows = connection.execute(query).all()
        return [
            (msgspec.json.decode(row.candidate, type=Candidate), row.state, row.created)
            for row in rows
        ]

    def candidate(self, student_id: str) -> Candidate:
        """Return one student's record."""
        table = schema.students
        with self.store.read() as connection:
            query = sa.select(table.c.candidate).where(table.c.id == student_id)
            body = connection.execute(query).scalar_one()
        return msgspec.json.decode(body, type=Candidate)

    def load(self, candidate: Candidate, resources: Resources = NO_RESOURCES) -> Student:
        """Load a student's files.

        Raises:
            StudentFileError: They are missing, corrupt, or not those that were saved.
            EngineError: No engine serves them now.
        """
        serve = resources.adapters.serve if resources.adapters is not None else None
        folder = self.folder(candidate.id)
        return load_student(folder, candidate.files, resources.encoder, serve, resources.encoders)

    def folder(self, student_id: str) -> Path:
        """Return the folder of a student's files."""
        return self.students_folder / student_id

    def certificates(self, task_id: str | None = None) -> list[Certificate]:
        """Return certificates, oldest first."""
        table = schema.certificates
        query = sa.select(table.c.certificate).order_by(_AS_THEY_CAME)
        if task_id is not None:
            query = query.where(table.c.task_id == task_id)
        with self.store.read() as connection:
            rows = connection.execute(query).all()
        return [msgspec.json.decode(row[0], type=Certificate) for row in rows]

    def certify(self, certificate: Certificate) -> None:
        """Keep a certificate; its student is certified from now on.

        Raises:
            SettingError: Recomputing it shows that it does not hold.
        """
        _require_holds(certificate)
        with self.store.write() as connection:
            _keep(connection, certificate)

    def promote(
        self,
        certificate: Certificate,
        *,
        by: By,
        reason: str,
        audit: float,
        canary: float = 1.0,
        policy: Policy | None = None,
        seen: int | None = None,
    ) -> bool:
        """Put a certified student in front of its task's traffic.

        One that is there already keeps the audits it has had, and the plan for more. A certificate
        that was not kept before is kept in the same write: whoever is killed between the two would
        leave a student that is certified, and that no turn looks at again.

        Args:
            certificate: Of the student.
            by: Who promotes it.
            reason: Why.
            audit: The share of its requests to audit, at first.
            canary: The share of its task's requests that it may answer, at first.
            policy: May forbid it for what it was made of; by default what licences alone forbid.
            seen: The `Promotion.id` of the task that this was decided on, 0 for none. Where
                another has come since, nothing is promoted.

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
        with self.store.write() as connection:
            if seen is not None and latest_row(connection, task_id) != seen:
                return False
            kept = sa.select(schema.certificates.c.id).where(
                schema.certificates.c.id == certificate.id
            )
            if connection.execute(kept).first() is None:
                _keep(connection, certificate)
            again = is_in_front(connection, task_id, certificate.student)
            row = add_promotion(
                connection, task_id, certificate.id, by=by, reason=reason, audit=audit
            )
            if not again:
                plan = AuditPlan(audit=audit, canary=canary, reason="newly promoted")
                add_plan(connection, row, plan)
        return True

    def demote(self, task_id: str, *, by: By, reason: str) -> None:
        """Take a task's student off."""
        with self.store.write() as connection:
            add_promotion(connection, task_id, None, by=by, reason=reason)

    def promotions(self) -> dict[str, Promotion]:
        """Return the latest promotion or demotion of each task that ever had one, by task id.

        A student promoted again for more of the traffic keeps the audits it has had.
        """
        with self.store.read() as connection:
            # Its certificate is there before a promotion is.
            query = sa.select(schema.certificates.c.certificate)
            found = [
                msgspec.json.decode(row[0], type=Certificate) for row in connection.execute(query)
            ]
            return read_promotions(connection, {one.id: one for one in found})

    def plans(self) -> dict[int, AuditPlan]:
        """Return how each promotion is audited now, by its `Promotion.since`."""
        with self.store.read() as connection:
            return read_plans(connection)

    def add_turn(self, turn: Turn, seconds: float) -> None:
        """Note a turn that was taken, and how long it took; it is no longer under way."""
        with self.store.write() as connection:
            ended(connection)
            connection.execute(
                sa.insert(schema.turns).values(
                    looked_at=turn.looked_at,
                    events=msgspec.json.encode(turn.events),
                    seconds=seconds,
                    time=time.time(),
                )
            )

    def last_turn(self) -> tuple[int, float] | None:
        """Return `Turn.looked_at` of the last turn, and its end in seconds since 1970."""
        table = schema.turns
        query = sa.select(table.c.looked_at, table.c.time).order_by(table.c.id.desc()).limit(1)
        with self.store.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.looked_at, row.time)

    def turns(self) -> list[Turn]:
        """Return the turns taken, oldest first."""
        table = schema.turns
        with self.store.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.id)).all()
        return [
            Turn(row.looked_at, msgspec.json.decode(row.events, type=tuple[Event, ...]))
            for row in rows
        ]


def _require_holds(certificate: Certificate) -> None:
    found = verify(certificate)
    if not found.holds:
        raise SettingError(f"The certificate does not hold: {'; '.join(found.problems)}")


def _keep(connection: sa.Connection, certificate: Certificate) -> None:
    """Keep a certificate; its student is certified from now on."""
    connection.execute(
        sa.insert(schema.certificates).values(
            id=certificate.id,
            task_id=certificate.task,
            student_id=certificate.student,
            certificate=msgspec.json.encode(certificate),
            created=time.time(),
        )
    )
    connection.execute(
        sa.update(schema.students)
        .where(schema.students.c.id == certificate.student)
        .values(state="certified")
    )
