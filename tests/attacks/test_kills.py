"""Processes that are killed at any moment: no acknowledged exchange is lost or doubled."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from functools import partial

import pytest

from cli.runner import run
from made_up import QUEUES, ticket, tickets, write_log
from openwheel.store import Store
from openwheel.store.exchange import AUDIT_SUFFIX

KINDS = ("worker", "learner", "supervisor")


@pytest.mark.parametrize(
    ("kills", "workers", "moment"),
    [(3, 2, 0.0), pytest.param(100, 4, 3.0, marks=pytest.mark.evidence)],
)
def test_no_acknowledged_exchange_is_lost_or_doubled(
    up,
    teacher,
    load,
    wait_for,
    tmp_path,
    kills,
    workers,
    moment,
):
    """Of whatever kind the process is; a killed supervisor is started again, on the same port.

    A student is promoted from the start, so that it answers, too, and the teacher what is audited
    of that. Turns are taken meanwhile.
    """
    before = [{**row, "output": "yes"} for row in tickets(600)]
    run("learn", write_log(tmp_path / "log.jsonl", before), cwd=tmp_path)
    options = (
        "--teacher", teacher().url, "--workers", str(workers), "--capture", "strict",
        "--log-level", "error",
    )  # fmt: skip
    gateway = up(*options)
    chance = random.Random(20261130)
    killed = Counter()
    with load(gateway, clients=8, text=_ticket) as clients:
        for number in range(kills):
            clients.more(chance.randrange(1, 50))
            time.sleep(moment * chance.random())
            kind = KINDS[number] if kills == len(KINDS) else chance.choice(KINDS)
            killed[kind] += 1
            if kind == "supervisor":
                gateway.process.kill()
                gateway.process.wait()
                wait_for(gateway.is_free)
                gateway = up(*options, port=gateway.port)
            else:
                victims = wait_for(partial(gateway.children, kind))
                with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                    os.kill(chance.choice(victims), signal.SIGKILL)
        clients.more(100)
    assert gateway.stop() == 0
    stored, audited = Counter(), Counter()
    with Store.open(gateway.folder / "openwheel.db") as store:
        for _, exchange in store.exchanges():
            text = json.loads(exchange.request)["messages"][0]["content"]
            (audited if exchange.id.endswith(AUDIT_SUFFIX) else stored)[text] += 1
    assert all(stored.pop(row["input"]) == 1 for row in before)
    lost = [text for text in clients.answered if text not in stored]
    doubled = [text for text, count in [*stored.items(), *audited.items()] if count > 1]
    assert (lost, doubled) == ([], [])
    with contextlib.closing(sqlite3.connect(gateway.folder / "openwheel.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    print(
        f"killed: {dict(killed)}; {len(clients.answered)} acknowledged, {len(stored)} stored, "
        f"{len(audited)} audits"
    )
    assert audited


def _ticket(client: int, number: int) -> str:
    """Return a ticket that no other client or number has."""
    words = ticket(random.Random(number), random.Random(number).choice(list(QUEUES)))
    return f"{words.rpartition(' ')[0]} {client}{number:06}"
