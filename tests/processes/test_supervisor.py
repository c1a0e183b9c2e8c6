"""What the supervisor does when it is told to stop or to read its settings, or is killed."""

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import sys
import threading
import urllib.error
from pathlib import Path

import pytest

SETTINGS = """
[gateway]
workers = {workers}
host = "{host}"

[[teachers]]
url = "{url}"
"""


def write_settings(folder, teacher, *, workers=2, host="127.0.0.1", more=""):
    text = SETTINGS.format(workers=workers, host=host, url=teacher.url) + more
    (folder / "openwheel.toml").write_text(text)


@pytest.fixture
def asking():
    """Ask a question from a thread; give the thread, and where the response will be."""
    threads = []

    def start(gateway, text):
        responses = []
        thread = threading.Thread(target=lambda: responses.append(gateway.ask(text)))
        thread.start()
        threads.append(thread)
        return thread, responses

    yield start
    for thread in threads:
        thread.join()


def test_workers_and_learner_end_when_the_supervisor_is_killed(up, teacher, asking, wait_for):
    """Requests under way are answered, and meanwhile the port is free for the next."""
    upstream = teacher()
    gateway = up("--teacher", upstream.url, "--workers", "2")
    processes = [*gateway.children(), *wait_for(lambda: gateway.children("learner"))]
    assert len(processes) == 3
    thread, responses = asking(gateway, "slow 3 answer")
    wait_for(lambda: upstream.received)
    gateway.process.kill()
    gateway.process.wait()
    wait_for(gateway.is_free)
    assert not responses
    assert any(gateway.is_alive(pid) for pid in processes)
    successor = up("--teacher", upstream.url, "--no-turns", port=gateway.port)
    assert successor.ask("is it you?").status == 200
    thread.join()
    assert responses[0].status == 200
    wait_for(lambda: not any(gateway.is_alive(pid) for pid in processes))
    assert gateway.stored()["slow 3 answer"] == 1


def test_sigterm_finishes_what_is_under_way(up, teacher, asking, wait_for):
    upstream = teacher()
    gateway = up("--teacher", upstream.url, "--workers", "2")
    processes = [*gateway.children(), *wait_for(lambda: gateway.children("learner"))]
    slow = [asking(gateway, f"slow 1 {n}") for n in range(6)]
    wait_for(lambda: len(upstream.received) == 6)
    assert gateway.stop() == 0
    for thread, responses in slow:
        thread.join()
        assert responses[0].status == 200
    assert not any(gateway.is_alive(pid) for pid in processes)
    assert gateway.is_free()
    assert gateway.stored() == {f"slow 1 {n}": 1 for n in range(6)}


def test_sigterm_ends_a_gateway_whose_worker_cannot_be_started(up, teacher, tmp_path, wait_for):
    """Such as after an update moved Python away; until then the others answer."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    program = (
        f"import sys; sys.executable = {str(python)!r}; from openwheel.cli import main; main()"
    )
    gateway = up(
        "--teacher", teacher().url, "--workers", "2", "--no-turns", command=("-c", program)
    )
    python.rename(tmp_path / "moved")
    victim, other = gateway.children()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: gateway.log.count("could not be started") > 1)
    assert gateway.children() == [other]
    assert gateway.ask("still there?").status == 200
    (tmp_path / "moved").rename(python)
    wait_for(lambda: len(gateway.children()) == 2)
    python.unlink()
    os.kill(other, signal.SIGKILL)
    wait_for(lambda: gateway.log.count("could not be started") > 3)
    assert gateway.stop() == 0


def test_settings_change_under_load_without_a_failed_request(up, teacher, load, wait_for, tmp_path):
    """All but the address, which is said to need a restart."""
    one, two = teacher("one"), teacher("two")
    write_settings(tmp_path, one, workers=1)
    gateway = up("--no-turns")
    before = gateway.children()
    with load(gateway) as clients:
        clients.more(50)
        write_settings(tmp_path, two, workers=2, host="::1")
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "The settings were read again" in gateway.log)
        after = gateway.children()
        asked = len(one.received)
        clients.more(100)
    assert clients.failed == {}
    assert len(one.received) == asked
    assert b'"content":"two"' in gateway.ask("who is it?").data
    assert len(after) == 2
    assert "changes with a restart" in gateway.log
    assert not set(before) & set(after)
    assert gateway.stop() == 0
    assert set(gateway.stored().values()) == {1}
    assert len(gateway.stored()) == len(clients.answered) + 1


BROKEN = {
    "not TOML": ("[gateway", "openwheel.toml"),
    "unknown setting": ("[gateway]\nworker = 2\n", "worker"),
    "wrong value": ("[gateway]\nworkers = 0\n", "workers"),
    "no teacher": ("", "There is no teacher"),
    "no such recording": ('[[teachers]]\nurl = "replay:nowhere.jsonl"\n', "nowhere.jsonl"),
    "a store that is none": (
        '[store]\npath = "openwheel.toml"\n[[teachers]]\nurl = "http://127.0.0.1:9/v1"\n',
        "is not a SQLite database",
    ),
}


@pytest.mark.parametrize(
    "broken",
    [
        ("not TOML", "a store that is none"),
        pytest.param(tuple(BROKEN), marks=pytest.mark.evidence),
    ],
    ids=["some", "all"],
)
def test_broken_settings_are_told_and_change_nothing(up, teacher, load, wait_for, tmp_path, broken):
    """Not even the learner, which ends while it is found out whether the new ones work."""
    upstream = teacher()
    write_settings(tmp_path, upstream, workers=1)
    gateway = up()
    workers, learner = gateway.children(), wait_for(lambda: gateway.children("learner"))
    with load(gateway, clients=2) as clients:
        for number, (text, said) in enumerate(map(BROKEN.get, broken), start=1):
            (tmp_path / "openwheel.toml").write_text(text)
            gateway.process.send_signal(signal.SIGHUP)
            wait_for(lambda n=number: gateway.log.count("The settings stay as they were") == n)
            line = next(
                line
                for line in reversed(gateway.log.splitlines())
                if "The settings stay as they were" in line
            )
            assert said in line
        clients.more(20)
    assert clients.failed == {}
    assert gateway.children() == workers
    assert gateway.children("learner") == learner
    assert "Traceback" not in gateway.log
    write_settings(tmp_path, upstream, workers=2)
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "The settings were read again" in gateway.log)
    assert len(gateway.children()) == 2


def test_sigterm_is_heard_while_new_workers_start(up, teacher, wait_for, tmp_path):
    """They may take long: here they wait for a store that another program keeps locked."""
    upstream = teacher()
    write_settings(tmp_path, upstream, workers=1)
    gateway = up("--no-turns")
    before = gateway.children()
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        write_settings(tmp_path, upstream, workers=1, more='[store]\npath = "other.db"\n')
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(gateway.children()) > len(before))
        assert gateway.ask("still there?").status == 200
        assert gateway.stop() == 0
    assert "other.db" not in gateway.log  # it did not wait to learn what is wrong
    assert gateway.stored() == {"still there?": 1}


def minds_hangups(pid):
    """Whether a process catches or ignores SIGHUP by now."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return any(int(status[mask], 16) >> (signal.SIGHUP - 1) & 1 for mask in ("SigCgt", "SigIgn"))


def test_a_hangup_that_reaches_every_process_harms_none(up, teacher, load, wait_for):
    """As a terminal that closes sends it, or ``pkill -HUP``."""
    gateway = up("--teacher", teacher().url)
    processes = [*gateway.children(), *wait_for(lambda: gateway.children("learner"))]
    # Until a process has begun, a hangup ends it, and another takes its place.
    wait_for(lambda: all(minds_hangups(pid) for pid in processes))
    with load(gateway, clients=2) as clients:
        clients.more(10)
        for pid in processes:
            os.kill(pid, signal.SIGHUP)
        clients.more(20)
    assert clients.failed == {}
    assert [*gateway.children(), *gateway.children("learner")] == processes


def test_the_learner_waits_for_another_to_end(up, teacher, wait_for, tmp_path):

    with (tmp_path / "openwheel.db.learner").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        gateway = up("--teacher", teacher().url)
        wait_for(lambda: "Another process is learning" in gateway.log)
        (learner,) = gateway.children("learner")

    def holds():
        with (tmp_path / "openwheel.db.learner").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
            return False

    wait_for(holds)
    assert gateway.children("learner") == [learner]
    assert gateway.log.count("Another process is learning") == 1


def test_a_gateway_that_drains_answers_but_is_not_ready(up, teacher, wait_for, tmp_path):
    """Balancers turn elsewhere, and clients with a connection too; none finds the door closed."""
    write_settings(tmp_path, teacher(), workers=2, more="[console]\nenabled = false\n")
    text = (tmp_path / "openwheel.toml").read_text()
    (tmp_path / "openwheel.toml").write_text(text.replace("[gateway]", "[gateway]\ndrain = 30.0"))
    gateway = up("--no-learner")

    def health():
        try:
            gateway.get("/healthz")
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["status"]
        return 200, "ok"

    with contextlib.ExitStack() as stack:
        clients = gateway.one_client_each(stack)
        assert health() == (200, "ok")
        gateway.process.send_signal(signal.SIGTERM)
        wait_for(lambda: {health() for _ in range(8)} == {(503, "stopping")})
        for client in clients:
            response = client.ask("still there?")
            assert response.status == 200
            assert response.getheader("connection") == "close"
        assert gateway.ask("and for me?").status == 200
    gateway.process.send_signal(signal.SIGTERM)  # the second ends it at once
    assert gateway.process.wait(timeout=10) == 0


def test_a_connection_that_comes_while_it_stops_is_refused(up, teacher, asking, wait_for):
    """Not taken by the system for nobody, to hang until the gateway has ended."""
    upstream = teacher()
    gateway = up("--teacher", upstream.url, "--workers", "2", "--no-learner")
    thread, responses = asking(gateway, "slow 3 answer")
    wait_for(lambda: upstream.received)
    gateway.process.send_signal(signal.SIGTERM)
    wait_for(gateway.is_free)
    assert not responses
    with pytest.raises(ConnectionRefusedError):
        gateway.ask("may I come in?")
    thread.join()
    assert responses[0].status == 200
