"""Shows and changes what is promoted: tasks, students, certificates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from openwheel.cli import options
from openwheel.cli.output import complain, iso, out, percent, print_json, print_table
from openwheel.errors import OpenwheelError, SettingError
from openwheel.settings.place import shown_place

if TYPE_CHECKING:
    from openwheel.gate import Certificate

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's name or id.")]


def tasks(db: options.Database = options.DEFAULT_DATABASE, json: options.Json = False) -> None:
    """List the tasks found in the traffic, and who answers them."""
    from openwheel.loop.audit.status import audit_status
    from openwheel.loop.registry import Registry
    from openwheel.loop.turn.room import shortage_messages
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        registry = Registry(store)
        audits = {audit.id: audit for audit in audit_status(store)}
        counts, promotions = store.task_counts(), registry.promotions()
        beyond = registry.beyond()
        listed: list[dict[str, Any]] = []
        for record in registry.tasks():
            promotion = promotions.get(record.task.id)
            certificate = promotion.certificate if promotion else None
            template, audit = record.task.template, audits.get(record.task.id)
            listed.append(
                {
                    "task": record.task.name,
                    "id": record.task.id,
                    "explicit": bool(record.task.explicit),
                    "form": record.form,
                    "form_reason": record.form_reason,
                    "n": counts.get(record.task.id, 0),
                    "attempts": record.attempts,
                    "student": certificate.student if certificate else None,
                    "rung": certificate.rung if certificate else None,
                    "threshold": certificate.threshold if certificate else None,
                    "certified_coverage": certificate.coverage if certificate else None,
                    "coverage": audit.coverage if audit else None,
                    "certificate": certificate.id if certificate else None,
                    "latest": promotion.reason if promotion else None,
                    "deferred_keys": certificate.deferred_keys if certificate else (),
                    "against_evidence": promotion is not None and promotion.against_evidence,
                    "template": template.describe() if template else None,
                    "audit": audit,
                }
            )
    if json:
        print_json({"tasks": listed, "unassigned": counts.get(None, 0), "beyond": beyond})
        return
    rows = [
        [
            t["task"],
            t["form"],
            f"{t['n']:,}",
            t["rung"] or "teacher",
            percent(t["certified_coverage"]),
            percent(t["coverage"]),
            percent(t["audit"].rate if t["audit"] else None, 2)
            + " of fields" * bool(t["audit"] and t["audit"].by_fields and t["audit"].audits),
        ]
        for t in listed
    ]
    columns = ["task", "form", "exchanges", "answered by", "certified coverage"]
    print_table([*columns, "live coverage", "live disagreement"], rows)
    for t in listed:
        if t["latest"] and (t["student"] is None or t["against_evidence"]):
            out.print(f"{t['task']}: {t['latest']}")
        if t["deferred_keys"]:
            keys = ", ".join(key or "none" for key in t["deferred_keys"])
            out.print(f"{t['task']}: left to the teacher are the keys {keys}", markup=False)
    out.print(f"{counts.get(None, 0):,} exchanges belong to no task, or came after the last turn.")
    for text in shortage_messages(beyond):
        out.print(text, markup=False)


def students(db: options.Database = options.DEFAULT_DATABASE, json: options.Json = False) -> None:
    """List every student that was judged or kept, what became of it, and why it was refused."""
    from openwheel.loop.audit.records import read_alarms
    from openwheel.loop.drift.records import read_changes
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        registry = Registry(store)
        alarms: dict[str, list[str]] = {}
        for row in read_alarms(store):
            alarms.setdefault(row.alarm.student, []).append(row.alarm.reason)
        for changed in read_changes(store):
            alarms.setdefault(changed.change.student, []).append(changed.change.reason)
        names = {record.task.id: record.task.name for record in registry.tasks()}
        promoted = {
            p.certificate.student: p for p in registry.promotions().values() if p.certificate
        }
        listed: list[dict[str, Any]] = [
            {
                "student": candidate.id,
                "task": names[candidate.task_id],
                "rung": candidate.rung,
                "state": "promoted" if candidate.id in promoted else state,
                "attempt": candidate.attempt,
                "epsilon": candidate.epsilon,
                "delta": candidate.delta,
                "delta_spent": candidate.delta_spent,
                "method": candidate.method,
                "trained_on": candidate.training.exchanges,
                "created": iso(created),
                "folder": str(registry.files.folder(candidate.id)),
                "reliability": [part._asdict() for part in registry.reliability(candidate)]
                if json
                else [],
                "files": candidate.files,
                "refused": candidate.refused,
                "alarms": alarms.get(candidate.id, []),
                "against_evidence": candidate.id in promoted
                and promoted[candidate.id].against_evidence,
            }
            for candidate, state, created in registry.candidates()
        ]
    if json:
        print_json({"students": listed})
        return
    rows = [
        [s["student"], s["task"], s["state"], str(s["attempt"] or "-"), f"{s['trained_on']:,}"]
        for s in listed
    ]
    print_table(["student", "task", "state", "attempt", "trained on"], rows)
    for s in listed:
        if s["refused"]:
            out.print(f"{s['student']}: {s['refused']}", markup=False)
        for reason in s["alarms"]:
            out.print(f"{s['student']}: {reason}")
        if s["against_evidence"]:
            out.print(f"{s['student']}: promoted by hand against this evidence")


def certificates(
    db: options.Database = options.DEFAULT_DATABASE, json: options.Json = False
) -> None:
    """List the certificates; with --json each one whole."""
    stored = _certificates(db)
    alarms = _alarms(db)
    if json:
        print_json({"certificates": stored, "alarms": alarms})
        return
    rows = [
        [
            c.id[:12],
            c.task_name,
            c.rung,
            percent(c.coverage),
            f"{c.calibration.disagreements:,} of {c.calibration.answered:,}"
            + (f", {percent(c.observed, 2)} of fields" if c.by_fields else ""),
            percent(c.bound, 2),
            percent(c.epsilon, 2),
            c.created,
        ]
        for c in stored
    ]
    columns = ["certificate", "task", "rung", "coverage", "disagreed", "bound", "limit", "created"]
    print_table(columns, rows)
    for alarm in alarms:
        out.print(f"{alarm['certificate'][:12]}: {alarm['reason']}")


def verify(
    certificate: Annotated[
        str, typer.Argument(metavar="CERTIFICATE", help="A file, or an id (its start will do).")
    ],
    db: options.Database = options.DEFAULT_DATABASE,
    json: options.Json = False,
) -> None:
    """Recompute a certificate from its recorded counts, and say whether it holds.

    For one in the store, also that its student's files are the ones that were certified. Exit code
    1 if it does not hold.
    """
    from openwheel.gate import verify as run

    loaded, from_store = _find(certificate, db)
    result = run(loaded)
    problems = list(result.problems)
    if from_store:
        problems += _file_problems(loaded, db)
    holds = not problems
    if json:
        print_json(
            {
                "certificate": loaded.id,
                "holds": holds,
                "bound": result.bound,
                "epsilon": loaded.epsilon,
                "problems": problems,
            }
        )
    else:
        counts = loaded.calibration
        out.print(
            f"Certificate {loaded.id[:12]} of task {loaded.task_name}, {loaded.rung} student "
            f"{loaded.student}:\nof {counts.n:,} independent calibration exchanges it answered "
            f"{counts.answered:,} and disagreed on {counts.disagreements:,} "
            f"({'wrong fields' if loaded.by_fields else 'mean loss'} "
            f"{loaded.observed:.4%}); recomputed from these counts (and those with repeats) the "
            f"bound is {result.bound:.4%}, the limit {loaded.epsilon:.2%}.",
            markup=False,
        )
        for problem in problems:
            complain(problem)
        out.print("It holds." if holds else "It does not hold.")
        if holds:
            out.print(loaded.statement)
    if not holds:
        raise typer.Exit(1)


def shadow(
    student: options.Student,
    db: options.Database = options.DEFAULT_DATABASE,
) -> None:
    """Have a student that was refused shadow: a new attempt, judged on what comes from now on.

    It spends its own share of delta, and takes the place of whoever shadows in its task.
    """
    from openwheel.loop.by_hand import shadow_by_hand
    from openwheel.loop.registry import Registry
    from openwheel.loop.settings import LoopSettings
    from openwheel.store import Store

    settings = LoopSettings.of(options.settings_from(None))
    with Store.open(db, create=False) as store:
        shadowing, before = shadow_by_hand(Registry(store), settings, student)
    out.print(
        f"{shadowing.id} shadows from now on: attempt {shadowing.attempt}, which spends "
        f"{shadowing.delta_spent:.3g} of delta {shadowing.delta:g}. Turns judge it.",
        markup=False,
    )
    if before is not None:
        out.print(f"{before.id} shadows no more; its evidence is lost.", markup=False)


def promote(
    task: TaskName,
    db: options.Database = options.DEFAULT_DATABASE,
    against_evidence: Annotated[
        bool,
        typer.Option(
            "--against-evidence", help="Also a student that audits or another teacher took off."
        ),
    ] = False,
) -> None:
    """Put the latest certified student of a task in front of its traffic (again).

    The policy may forbid it for what the student was made of. One that evidence took off needs a
    new certificate.
    """
    from openwheel.loop.by_hand import promote_by_hand
    from openwheel.loop.registry import Registry
    from openwheel.loop.settings import LoopSettings
    from openwheel.store import Store

    settings = LoopSettings.of(options.settings_from(None))
    with Store.open(db, create=False) as store:
        registry = Registry(store)
        promoted = promote_by_hand(registry, settings, task, against_evidence=against_evidence)
    out.print(f"{promoted.task_name}: {promoted.student} answers from now on.")


def demote(task: TaskName, db: options.Database = options.DEFAULT_DATABASE) -> None:
    """Take a task's student off: the teacher answers until it is promoted by hand."""
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        registry = Registry(store)
        record = registry.find_task(task)
        registry.demote(record.task.id, by="user", reason="demoted by hand")
    out.print(f"{record.task.name}: the teacher answers from now on.")


def stop(db: options.Database = options.DEFAULT_DATABASE) -> None:
    """Have teachers answer everything: no student answers until `openwheel resume`.

    Running gateways follow within two seconds. Promotions, certificates and audits stay as they
    are.
    """
    _set_stopped(db, stopped=True)
    out.print("Teachers answer everything from now on. `openwheel resume` undoes it.")


def resume(db: options.Database = options.DEFAULT_DATABASE) -> None:
    """Let promoted students answer again after `openwheel stop`."""
    _set_stopped(db, stopped=False)
    out.print("Promoted students answer again from now on.")


def _set_stopped(db: str, *, stopped: bool) -> None:
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        Registry(store).set_stopped(stopped, by="command line")


def _certificates(db: str) -> "list[Certificate]":
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        return Registry(store).certificates()


def _alarms(db: str) -> list[dict[str, Any]]:
    """Return what audits and changes of the teacher raised against the students of certificates."""
    from openwheel.loop.audit.records import read_alarms
    from openwheel.loop.drift.records import read_changes
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        by_student = {c.student: c.id for c in Registry(store).certificates()}
        raised = [
            (row.time, row.alarm.student, row.alarm.slice, row.alarm.reason)
            for row in read_alarms(store)
        ]
        raised += [
            (row.time, row.change.student, "", row.change.reason) for row in read_changes(store)
        ]
    return [
        {"certificate": by_student[student], "slice": part, "reason": reason, "time": iso(moment)}
        for moment, student, part, reason in sorted(raised)
        if student in by_student
    ]


def _find(name: str, db: str) -> "tuple[Certificate, bool]":
    """Return a certificate by file or id, and whether it came from the store."""
    from openwheel.gate import Certificate

    path = Path(name)
    if path.is_file():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Certificate), False
        except (msgspec.DecodeError, RecursionError, OSError) as error:
            raise SettingError(f"{path} is not a certificate: {error}") from None
    matches = [c for c in _certificates(db) if c.id.startswith(name)]
    if len(matches) != 1:
        state = "no certificate" if not matches else f"{len(matches)} certificates"
        raise SettingError(
            f"There is no file {name!r}, and {shown_place(db)} has {state} of that id"
        )
    return matches[0], True


def _file_problems(certificate: "Certificate", db: str) -> list[str]:
    from openwheel.loop.registry import Registry
    from openwheel.store import Store

    with Store.open(db, create=False) as store:
        registry = Registry(store)
        candidate = registry.candidate(certificate.student)
        if candidate.files != certificate.files:
            return ["the registry's student is not the one that was certified"]
        if certificate.lineage and candidate.made_of().digest() != certificate.lineage:
            return ["the registry's lineage of the student is not the one that was certified"]
        try:
            registry.check(candidate)
        except OpenwheelError as error:
            return [str(error)]
    return []
