"""Defines all tables. Structs of later stages are kept as JSON, and not read."""

import sqlalchemy as sa

from openwheel.store.sql import INTEGER, KEPT_BY_KEY, NEVER_USED_TWICE, Text, unique_where

MIGRATIONS = {
    2: (
        "ALTER TABLE exchanges ADD COLUMN api TEXT NOT NULL DEFAULT 'chat'",
        "ALTER TABLE exchanges ADD COLUMN key TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE exchanges ADD COLUMN settings TEXT NOT NULL DEFAULT ''",
    ),
    3: ("ALTER TABLE exchanges ADD COLUMN teacher TEXT NOT NULL DEFAULT ''",),
    4: (
        "ALTER TABLE exchanges ADD COLUMN reply_id TEXT",
        "ALTER TABLE exchanges ADD COLUMN request_id TEXT",
    ),
    5: ("ALTER TABLE exchanges ADD COLUMN fingerprint TEXT NOT NULL DEFAULT ''",),
    6: ("ALTER TABLE exchanges ADD COLUMN student_guess TEXT",),
    7: (
        "ALTER TABLE exchanges ADD COLUMN probabilities TEXT",
        "ALTER TABLE exchanges ADD COLUMN student_probabilities TEXT",
    ),
    8: ("ALTER TABLE feedback ADD COLUMN verdict TEXT NOT NULL DEFAULT ''",),
}
"""For each version, what makes its tables of those of the version before. The file keeps the
latest; a table that changes its columns takes another one."""

metadata = sa.MetaData()

# The request comes last: SQLite reads a row from its left, and a long request spills over to
# other pages that reading the columns before it then never touches. Postgres keeps it in a table of
# its own: queries take it from `sql.request_body`.
exchanges = sa.Table(
    "exchanges",
    metadata,
    sa.Column("seq", INTEGER, primary_key=True),
    sa.Column("id", Text, nullable=False, unique=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("source", Text, nullable=False),
    sa.Column("api", Text, nullable=False, server_default="chat"),
    sa.Column("model", Text, nullable=False),
    sa.Column("task", Text, nullable=False),
    sa.Column("latency_ms", sa.Float),
    sa.Column("prompt_tokens", INTEGER),
    sa.Column("completion_tokens", INTEGER),
    sa.Column("unbiased", sa.Boolean, nullable=False),
    sa.Column("audit_probability", sa.Float, nullable=False),
    sa.Column("student", Text, nullable=False),
    sa.Column("confidence", sa.Float),
    sa.Column("finish_reason", Text, nullable=False),
    sa.Column("key", Text, nullable=False, server_default=""),
    sa.Column("teacher", Text, nullable=False, server_default=""),
    sa.Column("fingerprint", Text, nullable=False, server_default=""),
    # The ids by which clients know a teacher's answer: in its body, and its x-request-id.
    sa.Column("reply_id", Text),
    sa.Column("request_id", Text),
    sa.Column("task_id", Text),
    # Set together with the task: a JSON object, or empty when the request has none.
    sa.Column("settings", Text, nullable=False, server_default=""),
    sa.Column("inputs", Text),
    sa.Column("text", Text, nullable=False),
    sa.Column("tool_calls", Text, nullable=False),
    sa.Column("student_answer", Text),
    sa.Column("student_guess", Text),
    # JSON objects of numbers by answer.
    sa.Column("probabilities", Text),
    sa.Column("student_probabilities", Text),
    sa.Column("request", sa.LargeBinary, nullable=False),
    **NEVER_USED_TWICE,
)

# SQLite ends every index entry with the seq, so this one serves a task's rows in order, the
# unassigned ones (NULLs are indexed) and the counts. New rows go to the end of the NULLs, always
# the same page, which keeps appending cheap.
sa.Index("exchanges_by_task", exchanges.c.task_id)

REPLY_INDEXES = tuple(
    f"CREATE INDEX IF NOT EXISTS {name} ON exchanges ({column}) WHERE {column} IS NOT NULL"
    for name, column in (("exchanges_by_reply", "reply_id"), ("exchanges_by_request", "request_id"))
)
"""What finds an answer by an id that its teacher gave it. Made when the first feedback comes: until
then captures need not pay for them. A student's answer has the id of its exchange, and needs none.
"""

# Feedback is deleted with its exchange, so that retention deletes both.
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column(
        "seq",
        INTEGER,
        sa.ForeignKey(exchanges.c.seq, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # The key's id, 0 where none was needed: a name may be given to another key later.
    sa.Column("key", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Float, nullable=False),
    # Time of the first feedback; it tells what a student may have been trained on.
    sa.Column("first", sa.Float, nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("label", Text, nullable=False),
    sa.Column("correction", Text),
    sa.Column("comment", Text, nullable=False),
    # A person's judgement of the teacher's and the student's answer.
    sa.Column("verdict", Text, nullable=False, server_default=""),
    **KEPT_BY_KEY,
)

# Beside the table of keys, which learning does not read.
feedback_trust = sa.Table(
    "feedback_trust",
    metadata,
    sa.Column("key", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("trust", Text, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    # Never used twice: spending and rate limits are kept by it.
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("hint", Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float),
    sa.Column("revoked", sa.Float),
    sa.Column("scope", Text, nullable=False),
    sa.Column("limits", Text, nullable=False),
    **NEVER_USED_TWICE,
)

# Names of revoked keys may be given again; who used which when stays on record.
sa.Index(
    "api_keys_by_live_name",
    api_keys.c.name,
    **unique_where(api_keys.c.revoked.is_(None)),
)

# One row once there was a key, for good: see openwheel.access.once.
once_keyed = sa.Table(
    "once_keyed",
    metadata,
    sa.Column("id", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Float, nullable=False),
)

# The period comes first, since every worker reads the current ones each second. No reference to
# api_keys: a row deleted by hand must not keep what others spent from being written.
key_spending = sa.Table(
    "key_spending",
    metadata,
    sa.Column("period", Text, primary_key=True),
    sa.Column("key", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("tokens", INTEGER, nullable=False),
    sa.Column("micro_dollars", INTEGER, nullable=False),
    **KEPT_BY_KEY,
)

# When a key's allowances will be whole again, on all machines that share the store: nanoseconds
# since 1970 by the database's clock. See openwheel.access.rate_limits.
key_limits = sa.Table(
    "key_limits",
    metadata,
    sa.Column("key", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("requests", INTEGER, nullable=False),
    sa.Column("tokens", INTEGER, nullable=False),
    **KEPT_BY_KEY,
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("task", sa.LargeBinary, nullable=False),
    sa.Column("form", Text, nullable=False),
    sa.Column("form_reason", Text, nullable=False),
    # Counted before a calibration label is looked at, and never set back: see Registry.attempt.
    sa.Column("attempts", INTEGER, nullable=False),
    sa.Column("trained_on", INTEGER, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

# The folds of a task's answers; a task without a row has none.
task_folds = sa.Table(
    "task_folds",
    metadata,
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("folds", sa.LargeBinary, nullable=False),
)

# Tasks that were left out when tasks were last looked for: one row.
tasks_beyond = sa.Table(
    "tasks_beyond",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("beyond", sa.LargeBinary, nullable=False),
)

# The last exchange of a task in a verdict, passed or failed: up to it none judges a new attempt.
judged = sa.Table(
    "judged",
    metadata,
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("until", INTEGER, nullable=False),
)

students = sa.Table(
    "students",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("rung", Text, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.Column("candidate", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

# The files of students, where machines share the store: see openwheel.loop.files.
student_blobs = sa.Table(
    "student_blobs",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("hash", Text, nullable=False, index=True),
    # Its URL in the object store; empty where its chunks are here.
    sa.Column("object", Text, nullable=False),
    # "making" until all of it is there, then "ready", then "deleting" until none of it is.
    sa.Column("state", Text, nullable=False),
    # When it was last begun or asked for by who publishes, by the database's clock.
    sa.Column("time", sa.Float, nullable=False),
)

student_chunks = sa.Table(
    "student_chunks",
    metadata,
    sa.Column(
        "blob", Text, sa.ForeignKey("student_blobs.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("number", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("student_id", Text, sa.ForeignKey("students.id"), nullable=False),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), nullable=False),
    # Null takes the task's student off.
    sa.Column("certificate_id", Text, sa.ForeignKey("certificates.id")),
    sa.Column("by", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    # The newest exchange at the time: audits of this promotion are those after it.
    sa.Column("after_seq", INTEGER, nullable=False),
    sa.Column("audit", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    **NEVER_USED_TWICE,
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("looked_at", INTEGER, nullable=False),
    sa.Column("events", sa.LargeBinary, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    **NEVER_USED_TWICE,
)

# The rights of which one learner at a time has each: see openwheel.loop.leases.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", Text, primary_key=True),
    # Empty while nobody has it.
    sa.Column("holder", Text, nullable=False),
    # Grows by one each time that it is taken.
    sa.Column("token", INTEGER, nullable=False),
    # In seconds since 1970 by the database's clock; null: until it is given back. If nobody has it,
    # when its holder was stopped with the work unfinished; null: it was not.
    sa.Column("until", sa.Float),
    # The latest turn in which its work was done, and that turn's newest exchange.
    sa.Column("turn", INTEGER, nullable=False),
    sa.Column("looked_at", INTEGER, nullable=False),
    **KEPT_BY_KEY,
)

# Failed turns: see openwheel.loop.turn.failures. Earlier versions noted turns under way here too.
turn_starts = sa.Table(
    "turn_starts",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    # The task it was at, null for none.
    sa.Column("task_id", Text),
    # When the failure was noticed; null for a turn that an earlier version had under way.
    sa.Column("noticed", sa.Float),
    sa.Column("reason", Text),
    **NEVER_USED_TWICE,
)

# Each time a person stopped all students, or let them answer again; the newest row holds.
stops = sa.Table(
    "stops",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("stopped", sa.Boolean, nullable=False),
    sa.Column("by", Text, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    **NEVER_USED_TWICE,
)

# Alerts, each once for each receiver: see openwheel.alerts.
alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("receiver", Text, primary_key=True),
    sa.Column("kind", Text, primary_key=True),
    sa.Column("ident", Text, primary_key=True),
    sa.Column("text", Text, nullable=False),
    sa.Column("happened", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.Column("tries", INTEGER, nullable=False),
    sa.Column("error", Text, nullable=False),
)

# The learner's audit plans; the newest row of each promotion holds. A promotion is identified by
# the row that first promoted its student.
audit_plans = sa.Table(
    "audit_plans",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("promotion_id", INTEGER, sa.ForeignKey("promotions.id"), nullable=False),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    **NEVER_USED_TWICE,
)

# The audit state of a promotion up to a seq. Both change in one transaction, so that no audit is
# lost or counted twice.
audit_watches = sa.Table(
    "audit_watches",
    metadata,
    sa.Column("promotion_id", INTEGER, sa.ForeignKey("promotions.id"), primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("cursor", INTEGER, nullable=False),
    sa.Column("watch", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), nullable=False),
    # The promotion that was taken off, or of which a slice was.
    sa.Column("promotion_id", INTEGER, sa.ForeignKey("promotions.id"), nullable=False),
    # The row of the demotion; null for a slice.
    sa.Column("demotion_id", INTEGER, sa.ForeignKey("promotions.id")),
    sa.Column("alarm", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    **NEVER_USED_TWICE,
)

# The versions of its teacher that answered a task, each once, with the requested model and the
# first exchange.
teacher_versions = sa.Table(
    "teacher_versions",
    metadata,
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), primary_key=True),
    # Whether it answered here; else it is from a log.
    sa.Column("live", sa.Boolean, primary_key=True),
    sa.Column("teacher", Text, primary_key=True),
    sa.Column("model", Text, primary_key=True),
    sa.Column("fingerprint", Text, primary_key=True),
    # The model that was asked for, as the settings have it; empty where they are not known.
    sa.Column("asked", Text, primary_key=True),
    sa.Column("seq", INTEGER, nullable=False),
    sa.Column("exchange", Text, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

# The last exchange of a task that was read for these, and the last state that was handled: the
# task's latest promotion, and how many versions it had.
teacher_looks = sa.Table(
    "teacher_looks",
    metadata,
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("cursor", INTEGER, nullable=False),
    sa.Column("promotion_id", INTEGER, nullable=False),
    sa.Column("versions", INTEGER, nullable=False),
)

teacher_changes = sa.Table(
    "teacher_changes",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), nullable=False),
    # The row of the demotion that followed; null where none did.
    sa.Column("demotion_id", INTEGER, sa.ForeignKey("promotions.id")),
    # Evidence up to this exchange is of the teacher before.
    sa.Column("after_seq", INTEGER, nullable=False),
    # Whether a student has to be certified again, or the change was only reported.
    sa.Column("anew", sa.Boolean, nullable=False),
    sa.Column("change", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    **NEVER_USED_TWICE,
)

# The self-disagreement of a task's teacher, and each second answer; the answers' texts are not
# kept.
teacher_twice = sa.Table(
    "teacher_twice",
    metadata,
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("cursor", INTEGER, nullable=False),
    sa.Column("twice", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

asked_twice = sa.Table(
    "asked_twice",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("tasks.id"), nullable=False),
    # The exchange with the first answer.
    sa.Column("seq", INTEGER, nullable=False),
    sa.Column("exchange", Text, nullable=False),
    # How far the second is from it, from 0 to 1.
    sa.Column("loss", sa.Float, nullable=False),
    # The version that gave the second.
    sa.Column("teacher", Text, nullable=False),
    sa.Column("model", Text, nullable=False),
    sa.Column("fingerprint", Text, nullable=False),
    sa.Column("dollars", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    **NEVER_USED_TWICE,
)
sa.Index("asked_twice_by_task", asked_twice.c.task_id, asked_twice.c.time)

# Judges' replies: a question is paid for once, and always has the same reply.
judgements = sa.Table(
    "judgements",
    metadata,
    sa.Column("key", Text, primary_key=True),
    sa.Column("task_id", Text, nullable=False, index=True),
    # Null: it was asked and gave no verdict.
    sa.Column("same", sa.Boolean),
    sa.Column("questions", INTEGER, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

# On an edge: requests that are still to be asked upstream. A struct of openwheel.edge as JSON each.
edge_queue = sa.Table(
    "edge_queue",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    # The id that its exchange will have.
    sa.Column("exchange", Text, nullable=False, unique=True),
    # Whether a client was told that it will be sent: then it is not deleted to make room.
    sa.Column("promised", sa.Boolean, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("size", INTEGER, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    **NEVER_USED_TWICE,
)

# On an edge: what it has heard of its upstream, and what it has counted.
edge_notes = sa.Table(
    "edge_notes",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("note", sa.LargeBinary, nullable=False),
)

# Of a store that is a copy of another: where that is, and a hash of what was copied but exchanges.
copies = sa.Table(
    "copies",
    metadata,
    sa.Column("id", INTEGER, primary_key=True),
    sa.Column("place", Text, nullable=False),
    sa.Column("digest", Text, nullable=False),
)

ORDERED = ("tasks", "students", "certificates")
"""The tables that are read in the order in which their rows came."""
