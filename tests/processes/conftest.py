"""``openwheel up`` as an operator runs it, a teacher for it, and clients that never rest."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cli.runner import run
from made_up import tickets, write_log
from openwheel.store import Store
from teacher import Asked, Teacher, respond

REST_S = 0.01
"""A client's between two requests: those that take all processors hold up what is waited for."""

ANSWER = b'{"model":"m","choices":[{"index":0,"message":{"content":"%s"},"finish_reason":"stop"}]}'


def poll(done: Callable[[], object], *, seconds: float = 60.0) -> object:
    """Return what ``done`` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.02)
    return found


@pytest.fixture
def teacher() -> Iterator[Callable[[str], Teacher]]:
    """Start a teacher that answers its name, at once or after the seconds that a request says."""
    with contextlib.ExitStack() as stack:

        def start(name: str = "yes") -> Teacher:
            async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
                text = json.loads(asked.body)["messages"][0]["content"]
                if text.startswith("slow "):
                    await asyncio.sleep(float(text.split()[1]))
                writer.write(respond(ANSWER % name.encode()))

            return stack.enter_context(Teacher(answer))

        yield start


class Client(contextlib.AbstractContextManager):
    """A client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        self._connection.close()

    def connect(self) -> int:
        """Connect, unless it is connected; return its own port."""
        if self._connection.sock is None:
            self._connection.connect()
        return self._connection.sock.getsockname()[1]

    def ask(self, text: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        """Return the response, whose ``.data`` is the whole body."""
        self._connection.request("POST", "/v1/chat/completions", request_of(text), headers or {})
        response = self._connection.getresponse()
        response.data = response.read()
        return response


class Gateway:
    """A gateway that is running."""

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path) -> None:
        self.process = process
        self.url = url.removesuffix("/v1")
        self.port = int(self.url.rpartition(":")[2])
        self.folder = folder

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def children(self, module: str = "worker") -> list[int]:
        """Return the ids of its processes of one kind."""
        pid = self.process.pid
        found = []
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if f"openwheel.processes.{module}".encode() in command:
                    found.append(int(child))
        return found

    @staticmethod
    def is_alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def ports_of(self, worker: int) -> set[int]:
        """Return the clients' ports of the connections that a worker holds."""
        sockets = set()
        for file in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(file))
        ports = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            here, there = (int(address.partition(":")[2], 16) for address in fields[1:3])
            if here == self.port and f"socket:[{fields[9]}]" in sockets:
                ports.add(there)
        return ports - {0}

    def get(self, path: str, headers: dict[str, str] | None = None) -> str:
        request = urllib.request.Request(self.url + path, headers=headers or {})
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode()

    def ask(self, text: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        """Ask on a connection of its own."""
        with Client(self.port) as client:
            return client.ask(text, headers)

    def one_client_each(self, stack: contextlib.ExitStack) -> list["Client"]:
        """Return clients whose connections are held by one worker each."""
        found: dict[int, Client] = {}
        workers = self.children()

        def find() -> bool:
            client = stack.enter_context(Client(self.port))
            client.ask("who answers?")
            holds = {pid for pid in workers if client.connect() in self.ports_of(pid)}
            found.update(dict.fromkeys(holds, client))
            return len(found) == len(workers)

        poll(find)
        return list(found.values())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def is_free(self) -> bool:
        """Return whether another could listen on its port."""
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", self.port))
                sock.listen()
            except OSError:
                return False
            return True

    def stored(self) -> Counter[str]:
        """Return how often each request's text is in the store."""
        with Store.open(self.folder / "openwheel.db") as store:
            return Counter(
                json.loads(exchange.request)["messages"][0]["content"]
                for _, exchange in store.exchanges()
            )


def request_of(text: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start ``openwheel up`` with these arguments; it must end well if it still runs."""
    with contextlib.ExitStack() as stack:

        def start(
            *arguments: str,
            port: int = 0,
            command: tuple[str, ...] = ("-m", "openwheel"),
            env: Mapping[str, str] | None = None,
        ) -> Gateway:
            log = stack.enter_context((tmp_path / "gateway.log").open("a"))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *command, "up", "--port", str(port), *arguments],
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                )
            )
            stack.callback(end, process)
            found = re.search(r"http://\S+", process.stdout.readline())
            said = (tmp_path / "gateway.log").read_text()
            assert found, said
            return Gateway(process, found.group(), tmp_path)

        def end(process: subprocess.Popen[str]) -> None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=30) == 0, (tmp_path / "gateway.log").read_text()

        yield start


@pytest.fixture(scope="session")
def learned_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where ``openwheel learn`` made a student of a log of 1,200 lines."""
    folder = tmp_path_factory.mktemp("learned")
    log = write_log(folder / "log.jsonl", tickets(1_200))
    run("learn", log, cwd=folder)
    return folder


@pytest.fixture
def learned(learned_once: Path, tmp_path: Path) -> Path:
    """Return the test's own folder, with a copy of that in it."""
    return shutil.copytree(learned_once, tmp_path, dirs_exist_ok=True)


class Load:
    """Clients that hardly rest, each on a connection that it keeps."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        clients: int = 6,
        text: Callable[[int, int], str] = "{} asks {}".format,
    ) -> None:
        self.gateway = gateway
        self._text = text
        self.answered: dict[str, tuple[int, object]] = {}  # by text: the client's port, the body
        self.failed: dict[str, tuple[int, object]] = {}  # by text, likewise
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait until that many more were answered."""
        target = len(self.answered) + count
        poll(lambda: len(self.answered) >= target)

    def _run(self, number: int) -> None:
        asked = 0
        with Client(self.gateway.port) as client:
            while not self._over.wait(REST_S):
                text = self._text(number, asked)
                asked += 1
                port = 0
                try:
                    port = client.connect()
                    response = client.ask(text)
                except (OSError, http.client.HTTPException) as error:
                    client.close()
                    self.failed[text] = (port, repr(error))
                else:
                    kept = self.answered if response.status == 200 else self.failed
                    kept[text] = (port, response.data)


@pytest.fixture
def wait_for() -> Callable[..., object]:
    return poll


@pytest.fixture
def load() -> type[Load]:
    return Load
