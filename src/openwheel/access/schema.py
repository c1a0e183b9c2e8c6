"""The tables of keys and of what they spent, in the same file as the traffic."""

import sqlalchemy as sa

from openwheel.store import metadata

api_keys = sa.Table(
    "api_keys",
    metadata,
    # Never used twice: spending and rate limits are kept by it.
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float),
    sa.Column("revoked", sa.Float),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("limits", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

# Names of revoked keys may be given again; who used which when stays on record.
sa.Index(
    "api_keys_by_live_name",
    api_keys.c.name,
    unique=True,
    sqlite_where=api_keys.c.revoked.is_(None),
)

# The period comes first, since every worker reads the current ones each second. No reference to
# api_keys: a row deleted by hand must not keep what others spent from being written.
key_spending = sa.Table(
    "key_spending",
    metadata,
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("micro_dollars", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)
