"""Stores judges' replies, so that a question is paid for once and always has the same reply."""

import time
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import judgements
from openwheel.store.store import Store

AT_ONCE = 500
"""Keys looked up in one statement: databases limit how many parameters one may have."""


class JudgeCache:
    """Keeps a judge's reply to each question of a task."""

    def __init__(self, store: Store, task_id: str) -> None:
        self._store = store
        self._task_id = task_id

    def find(self, keys: Sequence[str]) -> dict[str, bool | None]:
        """Return the replies to questions that were asked before, for any task."""
        verdicts: dict[str, bool | None] = {}
        distinct = list(dict.fromkeys(keys))
        with self._store.read() as connection:
            for start in range(0, len(distinct), AT_ONCE):
                part = distinct[start : start + AT_ONCE]
                query = sa.select(judgements.c.key, judgements.c.same).where(
                    judgements.c.key.in_(part)
                )
                verdicts |= {row.key: row.same for row in connection.execute(query)}
        return verdicts

    def keep(self, replies: Mapping[str, tuple[bool | None, int]]) -> dict[str, bool | None]:
        """Keep replies, each with how often its question was asked; return those that are kept.

        If another process has asked the same meanwhile, its reply stays.
        """
        now = time.time()
        with self._store.write() as connection:
            for key, (same, questions) in replies.items():
                added = sql.insert(connection, judgements).values(
                    key=key, task_id=self._task_id, same=same, questions=questions, time=now
                )
                connection.execute(added.on_conflict_do_nothing(index_elements=["key"]))
        return self.find(list(replies))

    def spent(self) -> int:
        """Return how many questions were asked for the task, ever.

        One that was asked twice counts once: the questions that a budget leaves out must not depend
        on replies.
        """
        query = (
            sa.select(sa.func.count())
            .select_from(judgements)
            .where(judgements.c.task_id == self._task_id)
        )
        with self._store.read() as connection:
            return int(connection.execute(query).scalar_one())
