"""What is still to be sent is kept within its bytes, and goes in a certain order."""

import json
import logging
import random
from pathlib import Path

import pytest

from openwheel.edge.spool import Spool
from openwheel.edge.waiting import Waiting
from openwheel.errors import StoreError, UnstorableError
from openwheel.store import Exchange
from openwheel.wire import Answer, ordered_id

MOST = 4 << 20


@pytest.fixture
def spool(tmp_path: Path):
    opened = Spool(tmp_path / "edge.db", MOST)
    yield opened
    opened.close()


def exchange(kind: str, *, size: int = 1_500, identity: str = "") -> Exchange:
    """Return an exchange: of a ``student``, of the ``teacher``, or picked by the coin."""
    text = random.randbytes(size // 2).hex()
    return Exchange(
        id=identity or ordered_id(),
        time=1.0,
        request=json.dumps({"messages": [{"role": "user", "content": text}]}).encode(),
        answer=Answer("billing"),
        source="student" if kind == "student" else "teacher",
        student="s-1",
        model="s-1",
        unbiased=kind == "picked",
        audit_probability=0.1,
    )


def waiting(size: int = 1_500, identity: str = "") -> Waiting:
    made = exchange("picked", size=0, identity=identity)
    return Waiting(
        api="chat",
        path="/v1/chat/completions",
        headers=(),
        marks=(),
        body=random.randbytes(size // 2).hex().encode(),
        model="m",
        exchanges=(made,),
    )


def kinds(spool: Spool) -> dict[str, int]:
    found = {"student": 0, "teacher": 0, "picked": 0}
    for _, one in spool.store.exchanges():
        kind = "student" if one.source == "student" else "picked" if one.unbiased else "teacher"
        found[kind] += 1
    return found


def bytes_of(spool: Spool) -> int:
    path = spool.store.path
    beside = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
    return sum(file.stat().st_size for file in beside if file.exists())


def test_it_never_takes_more_than_its_bytes(spool):
    draw = random.Random(1)
    for _ in range(120):
        batch = [
            exchange(draw.choice(["student", "student", "teacher", "picked"]), size=size)
            for size in draw.choices([300, 2_000, 9_000, 40_000], k=draw.randrange(1, 30))
        ]
        spool.append(batch)
        assert bytes_of(spool) <= MOST
    counts = spool.counts
    assert counts.deleted_student > 500
    assert spool.backlog().bytes == bytes_of(spool)
    assert spool.backlog().most_bytes == MOST


def test_answers_of_students_go_first_and_the_oldest_of_them(spool):
    first = [exchange("student") for _ in range(100)]
    spool.append(first)
    for _ in range(20):
        spool.append([exchange(kind) for kind in ("student", "teacher", "picked") * 10])
    before = kinds(spool)
    assert before["student"] == 300
    while not spool.counts.deleted_student:
        spool.append([exchange("picked") for _ in range(20)])
    after = kinds(spool)
    assert after["student"] < before["student"]
    assert after["teacher"] == before["teacher"]
    left = {one.id for _, one in spool.store.exchanges()}
    gone = [one.id in left for one in first]
    assert gone == sorted(gone)  # the oldest are missing
    assert not spool.counts.deleted_teacher
    assert not spool.counts.deleted_audits


def test_what_the_coin_picked_goes_last_by_age_alone(spool, caplog):
    caplog.set_level(logging.WARNING)
    for number in range(400):
        spool.append([exchange("picked") for _ in range(5)])
        spool.wait(ordered_id(), waiting())
        if number == 20:
            spool.append([exchange("student"), exchange("teacher")])
    counts = spool.counts
    assert (counts.deleted_student, counts.deleted_teacher) == (1, 1)
    assert counts.deleted_audits > 100
    assert bytes_of(spool) <= MOST
    # Answers and requests that wait are of about the same age at their beginnings.
    (_, oldest), (_, request) = spool.unsent(limit=1)[0], spool.waiting(limit=1)[0]
    assert abs(int(oldest.id[:12], 16) - int(request.exchanges[0].id[:12], 16)) < 10_000
    assert "The spool is full" in caplog.text


def test_a_request_that_a_client_was_promised_is_never_deleted(spool):
    promised = 0
    while spool.wait(ordered_id(), waiting(20_000), promised=True):
        promised += 1
    assert promised * 20_000 <= MOST // 4
    assert promised > 10
    for _ in range(60):
        spool.append([exchange("picked", size=8_000) for _ in range(20)])
    assert len(spool.waiting(limit=10_000)) == promised
    assert bytes_of(spool) <= MOST


def test_an_exchange_that_is_too_long_is_refused_alone(spool):
    long = exchange("picked", size=MOST // 8)
    with pytest.raises(UnstorableError, match="too long for a spool"):
        spool.append([long])
    with pytest.raises(UnstorableError, match="too long for a spool"):
        spool.append([exchange("student"), long])
    assert not spool.wait(ordered_id(), waiting(MOST // 4))
    assert spool.append([exchange("student")]) == 1


def test_what_was_asked_becomes_exchanges_in_one_write(spool):
    request = waiting(identity="one-audit")
    spool.wait("one-audit", request)
    spool.wait("one-audit", request)  # the same is kept once
    ((number, kept),) = spool.waiting(limit=10)
    assert kept == request
    spool.asked(number, [exchange("picked", identity="one-audit")])
    assert spool.waiting(limit=10) == []
    ((seq, made),) = spool.unsent(limit=10)
    assert made.id == "one-audit"
    spool.sent([seq], refused=0)
    assert spool.unsent(limit=10) == []
    assert (spool.counts.asked, spool.counts.sent) == (1, 1)


def test_counts_outlive_the_agent(spool, tmp_path):
    spool.append([exchange("student")])
    spool.sent([spool.unsent(limit=1)[0][0]], refused=1)
    spool.wait("x", waiting())
    spool.drop(spool.waiting(limit=1)[0][0], refused=False)
    spool.close()
    again = Spool(tmp_path / "edge.db", MOST)
    assert again.counts == spool.counts
    assert (again.counts.refused, again.counts.given_up) == (1, 1)
    again.close()


def test_two_edges_have_no_spool_in_common(spool, tmp_path):
    with pytest.raises(StoreError, match="Another edge uses the spool"):
        Spool(tmp_path / "edge.db", MOST)


def test_a_file_of_another_program_is_refused(tmp_path):
    (tmp_path / "x.db").write_text("no database")
    with pytest.raises(StoreError):
        Spool(tmp_path / "x.db", MOST)
