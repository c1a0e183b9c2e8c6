"""A teacher of two tasks, as a process of its own: it can be killed, and started again."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from made_up import COMMON, QUEUES

URGENCIES = {
    "urgent": "immediately asap deadline emergency critical blocked outage now",
    "normal": "week soon question update follow reply schedule usual",
    "low": "whenever someday idea suggestion minor eventually cosmetic nice",
}
TASKS = {
    "You sort support tickets into queues. Answer with the queue alone.": QUEUES,
    "Say how urgent this message is, in a single word and nothing else.": URGENCIES,
}
ANSWER = (
    b'{"id":"%s","model":"big","choices":'
    b'[{"index":0,"message":{"content":"%s"},"finish_reason":"stop"}]}'
)


def write(rng: random.Random, system: str, number: int) -> str:
    """Write what a client asks of a task; the number makes it the only one of its kind."""
    words = TASKS[system]
    own = words[rng.choice(list(words))].split()
    common = COMMON.split()
    chosen = [rng.choice(own if rng.random() < 0.6 else common) for _ in range(7)]
    return " ".join([*chosen, rng.choice(own), str(number)])


def answer(system: str, text: str) -> str:
    """Return what the teacher says: the label that most words are of."""
    said = text.split()
    words = TASKS[system]
    return max(words, key=lambda label: len([w for w in said if w in words[label].split()]))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
        system, text = (message["content"] for message in messages)
        said = answer(system, text)
        if system in self.server.changed:
            # Another label of the same task for each, so that no student is right any more.
            labels = list(TASKS[system])
            said = labels[(labels.index(said) + 1) % len(labels)]
        time.sleep(0.01)
        body = ANSWER % (b"t-%d" % random.getrandbits(64), said.encode())
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, changed: set[str]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.changed = changed

    def handle_error(self, *_: object) -> None:
        """Say nothing: a worker that was killed is meant to break connections."""


class LiveTeacher:
    """The process; always on the same port."""

    def __init__(self) -> None:
        # Bound and let go: the system gives it to nobody else who takes any port for a while.
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *changed: str) -> None:
        """Start it, and wait until it listens; of the tasks named it thinks otherwise now."""
        command = [sys.executable, __file__, str(self.port), *changed]
        path = os.pathsep.join(part for part in sys.path if part)
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None


if __name__ == "__main__":
    with _Server(int(sys.argv[1]), set(sys.argv[2:])) as server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
