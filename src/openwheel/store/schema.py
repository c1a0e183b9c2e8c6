"""The tables of the traffic store, and the ``metadata`` on which later stages define theirs."""

import sqlalchemy as sa

SCHEMA_VERSION = 6
"""Kept in SQLite's ``user_version``; raised when a table of any stage changes its columns."""

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
}
"""For each version, what makes its tables of those of the version before."""

APPLICATION_ID = 0x4F57_4845
"""``OWHE``, kept in SQLite's ``application_id``, to tell another program's database apart."""

metadata = sa.MetaData()

# The request comes last: SQLite reads a row from its left, and a long request spills over to
# other pages that reading the columns before it then never touches.
exchanges = sa.Table(
    "exchanges",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("api", sa.Text, nullable=False, server_default="chat"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("latency_ms", sa.Float),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("unbiased", sa.Boolean, nullable=False),
    sa.Column("audit_probability", sa.Float, nullable=False),
    sa.Column("student", sa.Text, nullable=False),
    sa.Column("confidence", sa.Float),
    sa.Column("finish_reason", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, server_default=""),
    sa.Column("teacher", sa.Text, nullable=False, server_default=""),
    sa.Column("fingerprint", sa.Text, nullable=False, server_default=""),
    # What clients know a teacher's answer by: the id in its body, and its x-request-id.
    sa.Column("reply_id", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("task_id", sa.Text),
    # Set together with the task: a JSON object, or empty when the request says nothing of them.
    sa.Column("settings", sa.Text, nullable=False, server_default=""),
    sa.Column("inputs", sa.Text),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("tool_calls", sa.Text, nullable=False),
    sa.Column("student_answer", sa.Text),
    sa.Column("student_guess", sa.Text),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
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
