"""What a store must show after anything that may happen to the processes that share it."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np

from openwheel.gate import Certificate, spent, verify
from openwheel.loop.data import load_answers
from openwheel.loop.registry import Registry
from openwheel.store import AUDIT_SUFFIX, Exchange, Store
from processes.live_load import Asked


class Peek:
    """Reads a store that others write, without ever holding them up."""

    def __init__(self, path: Path) -> None:
        self._url = f"{path.as_uri()}?mode=ro"

    def __call__(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self._url, uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def one(self, query: str) -> int:
        """Return the one number that a query gives, 0 where there is none yet."""
        try:
            ((found,),) = self(query)
        except sqlite3.OperationalError:  # no such file or table yet
            return 0
        return found or 0

    def attempts(self) -> dict[str, int]:
        """Return how many attempts there were on each task."""
        try:
            return dict(self("SELECT name, attempts FROM tasks"))
        except sqlite3.OperationalError:
            return {}

    def promoted(self) -> dict[str, str]:
        """Return the student that was promoted last, and not taken off, by task."""
        return dict(
            self(
                "SELECT tasks.name, certificates.student_id FROM promotions"
                " JOIN tasks ON tasks.id = promotions.task_id"
                " JOIN certificates ON certificates.id = promotions.certificate_id"
                " WHERE promotions.id IN (SELECT max(id) FROM promotions GROUP BY task_id)"
            )
        )


def every_answer_is_there_once(store: Store, asked: list[Asked]) -> None:
    """What a client got is kept once, word for word; an audit stands beside what it audits."""
    kept: dict[str, list[Exchange]] = {}
    ids = Counter[str]()
    for _, exchange in store.exchanges():
        ids[exchange.id] += 1
        text = json.loads(exchange.request)["messages"][-1]["content"]
        kept.setdefault(text, []).append(exchange)
    assert set(ids.values()) == {1}
    answers = {
        text: [e.answer.text for e in found if not e.id.endswith(AUDIT_SUFFIX)]
        for text, found in kept.items()
    }

    def is_kept(one: Asked) -> bool:
        found = answers.get(one.text, [])
        # If it was sent again, the kept answer may be one that broke off.
        return len(found) == 1 if one.tries else found == [one.answer]

    wrong = [one for one in asked if one.status == 200 and not is_kept(one)]
    assert not wrong, (len(wrong), wrong[:3])
    # Of a worker that was killed an answer may be kept that its client never saw.
    unseen = set(answers) - {one.text for one in asked}
    assert not unseen, sorted(unseen)[:3]
    assert max(len(found) for found in answers.values()) == 1
    audits = {identity for identity in ids if identity.endswith(AUDIT_SUFFIX)}
    assert audits
    assert not {one for one in audits if one.removesuffix(AUDIT_SUFFIX) not in ids}


def every_promotion_has_a_certificate(store: Store, *, deleted: int = 0) -> int:
    """Each can be recomputed, from the exchanges on; return how many promotions there were.

    Args:
        deleted: Up to which ``seq`` exchanges are gone: of them only certificates tell.
    """
    registry = Registry(store)
    certificates = {one.id: one for one in registry.certificates()}
    with store.read() as connection:
        promoted = connection.exec_driver_sql(
            "SELECT task_id, certificate_id FROM promotions WHERE certificate_id IS NOT NULL"
        ).all()
    for task_id, certificate_id in promoted:
        certificate = certificates[certificate_id]
        assert certificate.task == task_id
        _follows_from_the_store(store, registry, certificate, deleted)
    return len(promoted)


def _follows_from_the_store(
    store: Store, registry: Registry, certificate: Certificate, deleted: int
) -> None:
    assert verify(certificate).problems == ()
    candidate = registry.candidate(certificate.student)
    assert candidate.files == certificate.files
    registry.load(candidate)  # raises unless its files have the hashes that were certified
    (record,) = (one for one in registry.tasks() if one.task.id == certificate.task)
    data = load_answers(store, record.task.id, record.form)
    for window, some in (
        (certificate.training, data.seq <= candidate.trained_until),
        (certificate.calibration_window, (data.seq > candidate.trained_until) & data.unbiased),
    ):
        if window.first_seq <= deleted:
            continue
        inside = some & (data.seq >= window.first_seq) & (data.seq <= window.last_seq)
        found = data.take(np.flatnonzero(inside))
        assert found.window() == window, (certificate.method, window, len(found))


def every_attempt_was_paid_for(store: Store, seen: dict[str, int]) -> None:
    """None is forgotten; students are numbered by their attempts, and no number comes twice."""
    registry = Registry(store)
    counted = {record.task.id: record.attempts for record in registry.tasks()}
    for record in registry.tasks():
        assert record.attempts >= max(seen.get(record.task.name, 0), 1)
    numbers: dict[str, list[int]] = {}
    for candidate, _, _ in registry.candidates():
        numbers.setdefault(candidate.task_id, []).append(candidate.attempt)
        assert candidate.delta_spent == spent(candidate.delta, candidate.attempt)
    for task_id, found in numbers.items():
        assert found == sorted(set(found))
        assert found[-1] <= counted[task_id]


def is_whole(path: Path) -> None:
    """SQLite finds nothing wrong with the file."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
