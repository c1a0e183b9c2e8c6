"""An upstream gateway and edges as processes of their own, as operators run them."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from edge.conftest import request_of

SECRET = "OPENWHEEL_EDGE_KEY"


def until(done: Callable[[], object], *, seconds: float = 30.0) -> Any:
    """Return what ``done`` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.02)
    return found


class Answered:
    """What a client got.

    Attributes:
        status: The HTTP status.
        headers: By their names in small letters.
        body: As JSON.
    """

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        content = response.read()
        self.body = json.loads(content) if content else None

    @property
    def source(self) -> str:
        return self.headers.get("x-openwheel-source", "")

    @property
    def text(self) -> str:
        return self.body["choices"][0]["message"]["content"]


class Running:
    """A process that serves a port: ``openwheel up`` or ``openwheel edge``."""

    def __init__(self, folder: Path, *arguments: object, name: str, key: str = "") -> None:
        self._folder = folder
        self._arguments = [str(argument) for argument in arguments]
        self._log = folder / f"{name}.log"
        self._key = key
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                assert self.process.wait(timeout=30) == 0, self.log
            finally:
                self.process.kill()
                self.process.stdout.close()

    def start(self) -> None:
        """Start it, at the port that it had before, and wait until it answers."""
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "openwheel", *self._arguments, "--port", str(self.port)],
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", SECRET: self._key},
            )
        found = re.search(r"http://\S+:(\d+)", self.process.stdout.readline())
        assert found, self.log
        self.port = int(found[1])

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str, key: str = "", **headers: str) -> Answered:
        return self.ask_raw("GET", path, b"", key, **headers)

    def ask_raw(self, method: str, path: str, body: bytes, key: str = "", **headers) -> Answered:
        """Send one request on a connection of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            named["authorization"] = f"Bearer {key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, named)
            return Answered(connection.getresponse())

    def ask(self, text: str, *, system: str | None = None, key: str = "", **headers) -> Answered:
        """Ask the desk's task, or what another system message says."""
        asked = request_of(text) if system is None else request_of(text, system)
        body = json.dumps(asked).encode()
        named = {"content_type": "application/json", **headers}
        return self.ask_raw("POST", "/v1/chat/completions", body, key, **named)

    def health(self) -> dict[str, Any]:
        """Return what an edge says of itself, with what it says of its students."""
        report = self.get("/healthz").body
        return {**report["edge"], "students": report["students"], "status": report["status"]}
