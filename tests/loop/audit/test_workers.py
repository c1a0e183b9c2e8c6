"""An alarm in a gateway of two workers under load, whose teacher changed its mind."""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import pytest

from cli.runner import run
from made_up import QUEUES, ticket, tickets, write_log
from openwheel.loop.audit.records import read_alarms
from openwheel.store import Store
from teacher import Teacher, respond

REPLY = b'{"model":"m","choices":[{"index":0,"message":{"content":"%s"},"finish_reason":"stop"}]}'
CLIENTS = 4
LATEST_S = 2.0
"""What the design promises; workers look twice a second."""


@pytest.fixture
def teacher():
    """A teacher that nowadays calls everything an account matter."""
    with Teacher(respond(REPLY % b"account")) as teacher:
        yield teacher.url


@pytest.fixture
def gateway(tmp_path, teacher):
    # Other tests may keep the processors busy.
    (tmp_path / "openwheel.toml").write_text("[loop]\nturn_nice = 0\n")
    log = write_log(tmp_path / "log.jsonl", tickets(1_200))
    run("learn", log, "--audit", 0.3, cwd=tmp_path)
    up = [
        sys.executable,
        "-m",
        "openwheel",
        "up",
        "--teacher",
        teacher,
        "--port",
        "0",
        "--workers",
        "2",
    ]
    with (
        (tmp_path / "gateway.log").open("w") as said,
        subprocess.Popen(
            up,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        found = re.search(r"http://[^:]+:(\d+)", process.stdout.readline())
        assert found, (tmp_path / "gateway.log").read_text()
        yield int(found[1])
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def ask(connection, text):
    """Return who answered."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    connection.request("POST", "/v1/chat/completions", body)
    response = connection.getresponse()
    response.read()
    return response.headers["x-openwheel-source"]


@pytest.mark.evidence
def test_a_student_is_off_in_every_worker_soon_after_the_alarm(gateway, tmp_path):
    """Each client keeps its connection, and so its worker."""
    answered: dict[int, list[tuple[float, str]]] = defaultdict(list)
    over = threading.Event()

    def client(number):
        rng = random.Random(number)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway, timeout=60)) as it:
            while not over.is_set():
                source = ask(it, ticket(rng, rng.choice(list(QUEUES)), words=8))
                answered[number].append((time.time(), source))
                time.sleep(0.02)  # leave the learner some of the processor

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        with Store.open(tmp_path / "openwheel.db") as store:
            deadline = time.monotonic() + 120
            while not (alarms := read_alarms(store)):
                assert time.monotonic() < deadline, (tmp_path / "gateway.log").read_text()
                time.sleep(0.05)
            time.sleep(LATEST_S + 0.5)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    alarm = alarms[0].time
    assert len(answered) == CLIENTS
    for seen in answered.values():
        assert "student" in {source for _, source in seen}
        assert {source for _, source in seen[-3:]} == {"teacher"}
    late = [at - alarm for seen in answered.values() for at, source in seen if source == "student"]
    assert max(late) <= LATEST_S
