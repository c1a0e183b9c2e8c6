"""The registry's tables, in the same file as the traffic."""

import sqlalchemy as sa

from openwheel.store import metadata

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("task", sa.LargeBinary, nullable=False),
    sa.Column("form", sa.Text, nullable=False),
    sa.Column("form_reason", sa.Text, nullable=False),
    # Counted before a calibration label is looked at, and never set back: see Registry.attempt.
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("trained_on", sa.Integer, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

# How a task's answers may differ and still be one; a task without a row has no such ways.
task_folds = sa.Table(
    "task_folds",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("folds", sa.LargeBinary, nullable=False),
)

# Up to which exchange of a task verdicts were given, passed or failed: these judge no new attempt.
judged = sa.Table(
    "judged",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("until", sa.Integer, nullable=False),
)

students = sa.Table(
    "students",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("rung", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("candidate", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("student_id", sa.Text, sa.ForeignKey("students.id"), nullable=False),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    # Null takes the task's student off.
    sa.Column("certificate_id", sa.Text, sa.ForeignKey("certificates.id")),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    # The newest exchange at the time: audits of this promotion are those after it.
    sa.Column("after_seq", sa.Integer, nullable=False),
    sa.Column("audit", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("looked_at", sa.Integer, nullable=False),
    sa.Column("events", sa.LargeBinary, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

# Turns that were begun and have not ended, and those that failed: see openwheel.loop.failures.
turn_starts = sa.Table(
    "turn_starts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    # The task it is at, null before the first.
    sa.Column("task_id", sa.Text),
    # When it was seen to have failed; null for one under way.
    sa.Column("noticed", sa.Float),
    sa.Column("reason", sa.Text),
    sqlite_autoincrement=True,
)

# What the learner decided on auditing a promotion, the newest row of each. A promotion is known by
# the row that first put its student in front of traffic.
audit_plans = sa.Table(
    "audit_plans",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("promotion_id", sa.Integer, sa.ForeignKey("promotions.id"), nullable=False),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

# What the audits of a promotion have shown up to a seq. Both change in one transaction, so that
# none is lost or counted twice.
audit_watches = sa.Table(
    "audit_watches",
    metadata,
    sa.Column("promotion_id", sa.Integer, sa.ForeignKey("promotions.id"), primary_key=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("cursor", sa.Integer, nullable=False),
    sa.Column("watch", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    # The promotion that was taken off, or of which a slice was.
    sa.Column("promotion_id", sa.Integer, sa.ForeignKey("promotions.id"), nullable=False),
    # The row of the demotion; null for a slice.
    sa.Column("demotion_id", sa.Integer, sa.ForeignKey("promotions.id")),
    sa.Column("alarm", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

# Which versions of its teacher answered a task, each once: who, to what, and where it was seen
# first.
teacher_versions = sa.Table(
    "teacher_versions",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    # Whether it answered here; else it is from a log.
    sa.Column("live", sa.Boolean, primary_key=True),
    sa.Column("teacher", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    # The model that was asked for, as the settings have it; empty where they are not known.
    sa.Column("asked", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("exchange", sa.Text, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

# How far a task's exchanges were looked at for these, and what was last found to be all right: the
# task's latest promotion, and how many versions it had.
teacher_looks = sa.Table(
    "teacher_looks",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("cursor", sa.Integer, nullable=False),
    sa.Column("promotion_id", sa.Integer, nullable=False),
    sa.Column("versions", sa.Integer, nullable=False),
)

teacher_changes = sa.Table(
    "teacher_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    # The row of the demotion that followed; null where none did.
    sa.Column("demotion_id", sa.Integer, sa.ForeignKey("promotions.id")),
    # Evidence up to this exchange is of the teacher before.
    sa.Column("after_seq", sa.Integer, nullable=False),
    # Whether a student has to be certified anew, or the change was only told.
    sa.Column("anew", sa.Boolean, nullable=False),
    sa.Column("change", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

# What asking the teacher again has shown of a task, and each answer; the answers' texts are not
# kept.
teacher_twice = sa.Table(
    "teacher_twice",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("cursor", sa.Integer, nullable=False),
    sa.Column("twice", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

asked_twice = sa.Table(
    "asked_twice",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    # The exchange with the first answer.
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("exchange", sa.Text, nullable=False),
    # How far the second is from it, from 0 to 1.
    sa.Column("loss", sa.Float, nullable=False),
    # Who gave the second.
    sa.Column("teacher", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("dollars", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index("asked_twice_by_task", asked_twice.c.task_id, asked_twice.c.time)
