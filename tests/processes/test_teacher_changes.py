"""A teacher becomes another model behind its address, while gateway, learner and clients run."""

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.runner import run
from made_up import QUEUES, ticket


class Sorter(ThreadingHTTPServer):
    """Sorts tickets under a name that can change."""

    daemon_threads = True
    model = "big-1"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = asked["messages"][-1]["content"].split()
        queue = max(QUEUES, key=lambda name: sum(word in QUEUES[name].split() for word in words))
        message = {"role": "assistant", "content": queue}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        named = {"model": self.server.model, "system_fingerprint": "fp_1"}
        body = json.dumps({**named, "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sorter() -> Iterator[Sorter]:
    server = Sorter()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.evidence
@pytest.mark.parametrize("anew", [False, True])
def test_a_student_is_taken_off_and_certified_anew(up, wait_for, sorter, learned, anew):
    def shown(command):
        return json.loads(run(command, "--json", cwd=learned).stdout)[command]

    # Other tests may keep the processors busy.
    (learned / "openwheel.toml").write_text("[loop]\nturn_nice = 0\n")
    gateway = up("--teacher", sorter.url, "--workers", "2")
    rng = random.Random(4)

    def sources(n):
        """Return who answered some tickets, each a worker's on a connection of its own."""
        asked = [gateway.ask(ticket(rng, rng.choice(list(QUEUES)))) for _ in range(n)]
        assert all(response.status == 200 for response in asked)
        return {response.headers["x-openwheel-source"] for response in asked}

    wait_for(lambda: "student" in sources(5))
    sources(100)  # the log named no model: the first that is named is no change
    assert shown("audits")[0]["teacher"]["changes"] == []
    assert "student" in sources(5)

    sorter.model = "big-2"
    wait_for(lambda: sources(20) == {"teacher"}, seconds=60)
    (task,) = shown("audits")
    (change,) = task["teacher"]["changes"]
    assert (change["kind"], change["model"], change["did"]) == ("model", "big-2", "demoted")
    said = "[turn] messages: demoted. the teacher changed: another model, big-2"
    wait_for(lambda: said in gateway.log)  # told once it is done

    if not anew:
        return
    wait_for(lambda: "student" in sources(20), seconds=300)
    first, second = shown("certificates")
    assert second["student"] == first["student"]
    assert second["delta_spent"] < first["delta_spent"]
    assert second["calibration_window"]["first_seq"] > change["after_seq"]
    assert len(shown("audits")[0]["teacher"]["changes"]) == 1
