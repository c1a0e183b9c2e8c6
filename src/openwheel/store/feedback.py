"""Stores clients' feedback on answers beside the exchanges."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.exchange import AUDIT_SUFFIX
from openwheel.store.schema import REPLY_INDEXES, exchanges, feedback_trust
from openwheel.store.schema import feedback as table
from openwheel.store.store import Store, Transaction
from openwheel.wire import bare_id

Label = Literal["good", "bad"]
Verdict = Literal["teacher", "student", "both", "neither", "other"]
"""Which of two answers a person judged right; ``other``: the person wrote the right one."""

Trust = Literal["none", "low", "normal", "high"]
"""How much a key's corrections are believed; ``none`` once it was revoked."""

NO_KEY = 0
"""The speaker where no key is needed."""

MOST_FOUND = 2
"""The most exchanges that are searched by one id: two show that it is ambiguous."""


class KeptFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """The feedback of one key on one exchange.

    Attributes:
        seq: The exchange.
        key: Id of the key, 0 where none was needed.
        time: Time of the latest feedback, in seconds since 1970.
        first: Time of this key's first feedback on it.
        score: From 0 to 1, None if none was given.
        label: ``good`` or ``bad``, ``""`` if neither was given.
        correction: The right answer; None if none was given.
        comment: For people.
        verdict: A person's judgement of both answers, ``""`` if none was given.
    """

    seq: int
    key: int
    time: float
    first: float
    score: float | None = None
    label: Label | Literal[""] = ""
    correction: str | None = None
    comment: str = ""
    verdict: Verdict | Literal[""] = ""


class Judged(NamedTuple):
    """A verdict, with the exchange and the key that gave it."""

    seq: int
    key: int
    verdict: Verdict


class FoundExchange(NamedTuple):
    """An exchange that was found by an id.

    Attributes:
        seq: Its place in the store.
        time: When it arrived, in seconds since 1970.
        key: Name of the key it was sent with.
        task_id: Its task, None until it is assigned.
    """

    seq: int
    time: float
    key: str
    task_id: str | None


class Corrected(NamedTuple):
    """A correction with its exchange.

    Attributes:
        seq: The exchange.
        key: Id of the key that corrected it.
        spoken: Time of the first feedback on it, in seconds since 1970.
        correction: The right answer.
        id: The exchange's.
        time: When it arrived, in seconds since 1970.
        inputs, settings, text, source, student_answer: As in `TaskRow`.
    """

    seq: int
    key: int
    spoken: float
    correction: str
    id: str
    time: float
    inputs: str
    settings: str
    text: str
    source: str
    student_answer: str | None


def put_trust(connection: Transaction, key: int, trust: Trust) -> None:
    """Write the trust of a key, in the transaction that changes the key."""
    change = sql.insert(connection, feedback_trust).values(key=key, trust=trust)
    change = change.on_conflict_do_update(index_elements=["key"], set_={"trust": trust})
    connection.execute(change)


class FeedbackStore:
    """Reads and writes feedback in a traffic store's file.

    All methods raise `StoreError` when the file cannot be read or written.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock
        self._indexed = False

    def find(self, identity: str) -> list[FoundExchange]:
        """Return the exchanges that a client may know by this id, at most `MOST_FOUND`.

        Args:
            identity: The id in the body of an answer, or in its ``x-request-id`` header.
        """
        self._index()
        columns = [exchanges.c[name] for name in FoundExchange._fields]
        identities = sorted({identity, bare_id(identity)})
        matches: dict[int, FoundExchange] = {}
        # One query each, so that each uses its index.
        with self.store.read() as connection:
            for condition in (
                sql.has_id(connection, exchanges, identities),
                exchanges.c.reply_id == identity,
                exchanges.c.request_id == identity,
            ):
                rows = connection.execute(sa.select(*columns).where(condition).limit(MOST_FOUND))
                matches.update((row.seq, FoundExchange._make(row)) for row in rows)
        return list(matches.values())[:MOST_FOUND]

    def _index(self) -> None:
        """Make the indexes of teachers' ids, if no process has yet."""
        if self._indexed:
            return
        with self.store.write() as connection:
            for statement in REPLY_INDEXES:
                connection.exec_driver_sql(statement)
        self._indexed = True

    def put(
        self,
        seq: int,
        key: int,
        *,
        score: float | None = None,
        label: Label | None = None,
        correction: str | None = None,
        comment: str | None = None,
    ) -> bool:
        """Keep a key's feedback on an exchange, and return whether the exchange exists.

        A key has one entry on each exchange: new fields replace the old ones, and fields that are
        left out stay.
        """
        message = {"score": score, "label": label, "correction": correction, "comment": comment}
        values = {name: value for name, value in message.items() if value is not None}
        exchange = sa.select(exchanges.c.seq).where(sql.at(exchanges, seq))
        now = self._clock()
        fresh = {"seq": seq, "key": key, "time": now, "first": now}
        row = {**fresh, "label": "", "comment": "", **values}
        # Repeated feedback is not new, and must not make a correction look newer than it is.
        news = sa.or_(
            sa.false(), *(table.c[name].is_distinct_from(value) for name, value in values.items())
        )
        with self.store.write() as connection:
            if connection.execute(exchange).first() is None:
                return False
            change = sql.insert(connection, table).values(row)
            connection.execute(
                change.on_conflict_do_update(
                    index_elements=["seq", "key"], set_={**values, "time": now}, where=news
                )
            )
        return True

    def latest(self, *, task_id: str | None = None, limit: int = 50) -> list[KeptFeedback]:
        """Return the latest feedback, newest first."""
        query = sa.select(table).join(exchanges, exchanges.c.seq == table.c.seq)
        if task_id is not None:
            query = query.where(exchanges.c.task_id == task_id)
        query = query.order_by(table.c.time.desc(), table.c.seq.desc()).limit(limit)
        with self.store.read() as connection:
            return [KeptFeedback(**row._mapping) for row in connection.execute(query)]

    def corrections(self, task_id: str) -> list[Corrected]:
        """Return a task's corrections, in the order of their exchanges."""
        named: dict[str, sa.ColumnElement[Any]] = {
            "key": table.c.key,
            "spoken": table.c.first,
            "correction": table.c.correction,
        }
        columns = [
            named[name].label(name) if name in named else exchanges.c[name]
            for name in Corrected._fields
        ]
        query = (
            sa.select(*columns)
            .join_from(table, exchanges, exchanges.c.seq == table.c.seq)
            .where(table.c.correction.is_not(None), exchanges.c.task_id == task_id)
            .order_by(exchanges.c.seq, table.c.key)
        )
        with self.store.read() as connection:
            return [Corrected._make(row) for row in connection.execute(query)]

    def judge(self, seq: int, key: int, verdict: Verdict, correction: str | None) -> bool:
        """Keep a key's verdict on an exchange in place of its earlier one and its correction.

        Returns:
            Whether the exchange exists.
        """
        exchange = sa.select(exchanges.c.seq).where(sql.at(exchanges, seq))
        now = self._clock()
        values = {"verdict": verdict, "correction": correction}
        fresh = {"seq": seq, "key": key, "time": now, "first": now, "label": "", "comment": ""}
        row = {**fresh, **values}
        news = sa.or_(*(table.c[name].is_distinct_from(value) for name, value in values.items()))
        with self.store.write() as connection:
            if connection.execute(exchange).first() is None:
                return False
            change = sql.insert(connection, table).values(row)
            connection.execute(
                change.on_conflict_do_update(
                    index_elements=["seq", "key"], set_={**values, "time": now}, where=news
                )
            )
        return True

    def forget(self, seq: int, key: int) -> None:
        """Delete a key's feedback on an exchange."""
        with self.store.write() as connection:
            connection.execute(sa.delete(table).where(table.c.seq == seq, table.c.key == key))

    def verdicts(self, task_id: str) -> list[Judged]:
        """Return the verdicts on a task's exchanges that come with no right answer."""
        query = (
            sa.select(table.c.seq, table.c.key, table.c.verdict)
            .join_from(table, exchanges, exchanges.c.seq == table.c.seq)
            .where(table.c.verdict.in_(("both", "neither")), exchanges.c.task_id == task_id)
            .order_by(table.c.seq)
        )
        with self.store.read() as connection:
            return [Judged._make(row) for row in connection.execute(query)]

    def on(self, seq: int) -> list[KeptFeedback]:
        """Return the feedback on an exchange, oldest first."""
        query = sa.select(table).where(table.c.seq == seq).order_by(table.c.time)
        with self.store.read() as connection:
            return [KeptFeedback(**row._mapping) for row in connection.execute(query)]

    def trusts(self) -> dict[int, Trust]:
        """Return the trust of each key, by its id."""
        with self.store.read() as connection:
            return {row.key: row.trust for row in connection.execute(sa.select(feedback_trust))}

    def audits_of(self, identities: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Return seq and text of the audits of these exchanges, by exchange id."""
        answers: dict[str, tuple[int, str]] = {}
        with self.store.read() as connection:
            for start in range(0, len(identities), 500):
                audit_ids = [
                    f"{identity}{AUDIT_SUFFIX}" for identity in identities[start : start + 500]
                ]
                query = sa.select(exchanges.c.id, exchanges.c.seq, exchanges.c.text)
                query = query.where(sql.has_id(connection, exchanges, audit_ids))
                for row in connection.execute(query):
                    answers[row.id.removesuffix(AUDIT_SUFFIX)] = (row.seq, row.text)
        return answers

    def answers_of(self, task_id: str, latest: int) -> list[str]:
        """Return the different answers among a task's latest exchanges, as they were written."""
        newest = (
            sa.select(exchanges.c.text)
            .where(exchanges.c.task_id == task_id, exchanges.c.text != "")
            .order_by(exchanges.c.seq.desc())
            .limit(latest)
            .subquery()
        )
        with self.store.read() as connection:
            return list(connection.execute(sa.select(newest.c.text).distinct()).scalars())
