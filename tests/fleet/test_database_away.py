"""A gateway whose database is away: certified students and teachers go on answering."""

import http.client
import json
import random
import urllib.request
from contextlib import closing

import pytest

from fleet.fleet import exchange, students_of
from fleet.machines import Machine
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Store
from processes.conftest import poll
from processes.live_tasks import TASKS, write

FIRST = 400
"""Exchanges of each task that were there before."""

ROOM = 40
"""How many exchanges the gateway may hold that are not written yet."""

SETTINGS = """
[gateway]
workers = 1

[capture]
max_queued = {room}

[loop]
audit = 0.000001

[[teachers]]
name = "big"
url = "{teacher}"
"""


class Client:
    """Asks a gateway, and remembers what it was told.

    Attributes:
        after: The newest exchange before its own.
        answered: The texts that were answered.
        sources: Who answered them.
    """

    def __init__(self, gateway: Machine, url: str) -> None:
        with Store.open(url) as store:
            self.after = store.last_seq()
        self.answered: list[str] = []
        self.sources: list[str] = []
        self._gateway = gateway
        self._rng = random.Random(5)

    def ask(self, times: int) -> None:
        """Ask so often; each request must be answered."""
        with closing(
            http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=60)
        ) as connection:
            for _ in range(times):
                system = self._rng.choice(list(TASKS))
                text = write(self._rng, system, 10_000 + len(self.answered))
                messages = [
                    {"role": "system", "content": system},
                    {"role": "user", "content": text},
                ]
                body = json.dumps({"model": "big", "messages": messages})
                connection.request("POST", "/v1/chat/completions", body)
                response = connection.getresponse()
                assert response.status == 200, response.read()
                response.read()
                self.answered.append(text)
                self.sources.append(response.headers["x-openwheel-source"])

    def health(self) -> dict:
        """Return what ``GET /healthz`` says; it answers 200 whatever is wrong."""
        url = f"http://127.0.0.1:{self._gateway.port}/healthz"
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def certified(postgres_server, folder):
    """Return the URL of a store with a certified student of each task."""
    url = postgres_server.database()
    rng = random.Random(3)
    with pytest.MonkeyPatch.context() as patch, Store.open(url) as store:
        patch.setenv("XDG_CACHE_HOME", str(folder / "own" / "cache"))
        for system in TASKS:
            store.append([exchange(rng, system, number) for number in range(FIRST)])
        turn(store, LoopSettings(rungs=("linear",), epsilon=0.2, audit=1e-6))
    yield url
    postgres_server.drop(url)


@pytest.fixture
def gateway(certified, live_teacher, folder, request):
    settings = SETTINGS.format(teacher=live_teacher.url, room=ROOM)
    up = ("up", "--no-learner", "--no-console")
    with Machine(folder / request.node.name[:20], certified, up, settings) as machine:
        poll(lambda: machine.is_up)
        poll(lambda: len(students_of(machine)) == len(TASKS))
        yield machine


def stored(url, client):
    """Return the texts of a client's exchanges, in the order in which they were stored."""
    with Store.open(url) as store:
        return [
            json.loads(found.request)["messages"][-1]["content"]
            for _, found in store.exchanges(after=client.after)
        ]


def is_well(client):
    health = client.health()
    return health["status"] == "ok" and not health["capture"]["queued"]


def test_answers_go_on_what_was_captured_is_written_later_and_what_has_no_room_is_counted(
    postgres_server, certified, gateway
):
    client = Client(gateway, certified)
    client.ask(5)
    poll(lambda: is_well(client))
    postgres_server.stop()
    try:
        client.ask(ROOM - 10)
        assert set(client.sources) == {"student", "teacher"}
        poll(lambda: client.health()["problem"])
        health = client.health()
        assert health["status"] == "degraded"
        assert health["capture"]["queued"] == ROOM - 10
        assert "cannot be opened" in health["capture"]["error"]
        assert set(health["students"]) == set(students_of(gateway))
    finally:
        postgres_server.start()
    poll(lambda: is_well(client))
    assert stored(certified, client) == client.answered

    kept = len(client.answered)
    postgres_server.stop()
    try:
        client.ask(ROOM + 7)
        capture = client.health()["capture"]
        assert (capture["queued"], capture["dropped"]) == (ROOM, 7)
        assert "7 exchanges dropped" in gateway.log or "queue is full" in gateway.log
    finally:
        postgres_server.start()
    poll(lambda: not client.health()["capture"]["queued"])
    assert client.health()["status"] == "degraded"  # for five minutes, since some were lost
    assert stored(certified, client) == client.answered[: kept + ROOM]


def test_one_that_starts_while_the_database_is_away_serves_once_it_is_back(
    postgres_server, certified, gateway
):
    client = Client(gateway, certified)
    postgres_server.stop()
    try:
        gateway.kill()
        poll(lambda: len(gateway.processes) > 2)  # it was started again, and could not begin
        assert not gateway.is_up
        assert gateway.code == 2
        assert "cannot be opened" in gateway.log
        assert "Traceback" not in gateway.log
    finally:
        postgres_server.start()
    poll(lambda: gateway.is_up)
    client.ask(30)
    assert set(client.sources) == {"student", "teacher"}
    poll(lambda: is_well(client))

    # A worker alone: connections wait for the next one.
    postgres_server.stop()
    try:
        gateway.kill_worker()
        poll(lambda: "Gateway worker 0 ended with code 2" in gateway.log)
    finally:
        postgres_server.start()
    client.ask(10)
    poll(lambda: is_well(client))
    assert stored(certified, client) == client.answered
