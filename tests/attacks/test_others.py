"""What one client, or whoever has the disk, does to the others: floods, and files that are none."""

import asyncio
import json
import logging
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.raw import Client, post
from openwheel.errors import StudentFileError
from openwheel.gateway import create_app, gateway_thread
from openwheel.gateway.authorization import Guard
from openwheel.gateway.feedback import _MOST_AT_ONCE, FeedbackEndpoint
from openwheel.gateway.meter import Meter
from openwheel.loop.feedback.desk import Feedback, FeedbackError, Speaker
from openwheel.processes.runtime import runtime_folder
from openwheel.settings import GatewaySection
from openwheel.students import load_student, save_student, train
from openwheel.students.files import SETTINGS
from openwheel.teachers import HttpTeacher


class SlowDesk:
    """Takes what is said once it may."""

    def __init__(self):
        self.may, self.taken = threading.Event(), []

    def take(self, said, key):
        assert self.may.wait(20)
        self.taken.append(key)
        return ""


@pytest.mark.parametrize("keys", [1, 5])
def test_a_flood_of_feedback_leaves_room_for_others(keys):
    floods = [Speaker(number, "flood", 0.0, anywhere=False) for number in range(1, keys + 1)]
    other = Speaker(keys + 1, "other", 0.0, anywhere=False)
    desk = SlowDesk()
    said = Feedback(id="x", label="good")

    async def main():
        with ThreadPoolExecutor(2) as threads:
            endpoint = FeedbackEndpoint(desk, Guard(None), Meter(), threads)
            waiting = [
                asyncio.ensure_future(endpoint._take(said, key))
                for _ in range(3 * _MOST_AT_ONCE)
                for key in floods
            ]
            await asyncio.sleep(0.01)
            mine = [asyncio.ensure_future(endpoint._take(said, other)) for _ in range(2)]
            await asyncio.sleep(0.01)
            desk.may.set()
            done = await asyncio.gather(*mine, return_exceptions=True)
            theirs = await asyncio.gather(*waiting, return_exceptions=True)
        return done, theirs

    done, theirs = asyncio.run(main())
    assert done == [None, None]
    refused = [one for one in theirs if isinstance(one, FeedbackError)]
    assert {one.code for one in refused} == {"busy"}
    assert len(theirs) - len(refused) < _MOST_AT_ONCE
    assert desk.taken.count(other) == 2


def test_without_keys_all_room_is_for_all():
    desk = SlowDesk()

    async def main():
        with ThreadPoolExecutor(2) as threads:
            endpoint = FeedbackEndpoint(desk, Guard(None), Meter(), threads)
            said = Feedback(id="x", label="good")
            waiting = [
                asyncio.ensure_future(endpoint._take(said, None)) for _ in range(_MOST_AT_ONCE + 3)
            ]
            await asyncio.sleep(0.01)
            desk.may.set()
            return await asyncio.gather(*waiting, return_exceptions=True)

    assert asyncio.run(main()).count(None) == _MOST_AT_ONCE


def test_what_concerns_all_is_shown_to_no_limited_key(guarded, by_path, ask):
    running = guarded()
    limited = [running.key("m", models=["m"])[1], running.key("t", tasks=["route"])[1]]
    _, whole = running.key("whole", requests_per_minute=1)
    for secret in limited:
        assert ask(running, "GET", "/metrics", secret).status == 403
        assert json.loads(ask(running, "GET", "/healthz", secret).data) == {"status": "ok"}
    for _ in range(3):
        assert ask(running, "GET", "/metrics", whole).status == 200
        assert "uptime_s" in json.loads(ask(running, "GET", "/healthz", whole).data)


def test_a_student_that_cannot_be_used_is_in_the_health(gateway, http):
    broken = {}
    running = gateway(broken=lambda: broken)
    assert json.loads(http("GET", f"{running.url}/healthz").data)["status"] == "ok"
    broken["route"] = "arrays.safetensors was changed since it was saved"
    health = json.loads(http("GET", f"{running.url}/healthz").data)
    assert (health["status"], health["students_broken"]) == ("degraded", broken)


def test_a_thousand_malformed_requests_are_a_line_or_two(gateway, caplog):
    running = gateway()
    port = int(running.url.rpartition(":")[2])
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            with Client(port) as client:
                client.send(b"nonsense\r\n\r\n")
                assert client.response().status == 400
    assert 1 <= len([one for one in caplog.records if "Invalid HTTP" in one.getMessage()]) <= 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_a_pipe_as_a_students_file_is_refused_and_not_waited_for(tmp_path):
    inputs = [(word,) for word in ("a", "b")] * 20
    answers = ["x", "y"] * 20
    student = train("exact", inputs, answers, variables=(0,)).student
    hashes = save_student(student, tmp_path / "student")
    path = tmp_path / "student" / SETTINGS
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StudentFileError, match="is not a file"):
        load_student(tmp_path / "student", hashes)


def test_folders_of_supervisors_that_were_killed_go_with_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with runtime_folder() as alive:
        (alive / "limits").write_bytes(b"")
        killed, fresh, foreign = (tmp_path / f"openwheel-run-{one}" for one in "abc")
        for folder in (killed, fresh):
            folder.mkdir()
            (folder / "supervisor").touch()
        foreign.mkdir()
        long_ago = time.time() - 3600
        for path in (killed / "supervisor", killed, foreign, alive / "limits", alive):
            os.utime(path, (long_ago, long_ago))
        os.utime(alive / "supervisor", (long_ago, long_ago))
        with runtime_folder() as second:
            assert sorted(tmp_path.iterdir()) == sorted([alive, fresh, foreign, second])
        assert alive.is_dir()
    assert sorted(tmp_path.iterdir()) == [fresh, foreign]


def test_what_a_client_left_unread_for_too_long_is_not_kept_for_it(upstream, student):
    """The connection is reset: else the system would go on offering the rest, for minutes."""
    gone = threading.Event()

    async def endless(_, writer):
        writer.write(upstream.stream_head)
        try:
            while True:
                writer.write(upstream.chunked(b"data: %s\n\n" % (b"x" * 60_000)))
                await writer.drain()
        finally:
            gone.set()

    upstream.answer = endless
    app = create_app(HttpTeacher(upstream.url), student(student=""))
    settings = GatewaySection(send_timeout=0.3)
    with gateway_thread(app, settings=settings, look_every=0.05) as url:
        port = int(url.rpartition(":")[2])
        with Client(port, receive_buffer=4_096) as client:
            client.send(post())
            assert gone.wait(10)
            with pytest.raises(ConnectionResetError):
                list(iter(lambda: client.sock.recv(1 << 16), b""))
