"""A task whose teacher can become another one."""

import functools
import json
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from made_up import QUEUES, ticket
from openwheel.gate import Certificate
from openwheel.loop.registry import Registry
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Exchange, Store
from openwheel.teachers import HttpTeacher, asking_again
from openwheel.wire import Answer
from teacher import Teacher, replies

SWAPPED = dict(zip(QUEUES, [*list(QUEUES)[1:], next(iter(QUEUES))], strict=True))
"""What a teacher says that contradicts the one before."""


class Who(NamedTuple):
    """A teacher: its endpoint, what it calls its model, and its fingerprint."""

    teacher: str = "gpu"
    model: str = "big-1"
    fingerprint: str = "fp_a"


class Traffic:
    """Puts exchanges into a store as a gateway would whose teacher answers everything."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rng = random.Random(7)
        self.number = 0

    def __call__(self, n: int, who: Who | None = None, *, swapped: bool = False, **fields) -> str:
        """Answer ``n`` tickets, and return the id of the first exchange."""
        made, who = [], who or Who()
        for _ in range(n):
            queue = self.rng.choice(list(QUEUES))
            said = SWAPPED[queue] if swapped else queue
            content = ticket(self.rng, queue)
            body = {"model": "big", "stream": True}
            body["messages"] = [{"role": "user", "content": content}]
            values = {
                "id": f"e{self.number}",
                "time": 1_700_000_000.0 + self.number,
                "request": json.dumps(body).encode(),
                "answer": Answer(said),
                "source": "teacher",
                "teacher": who.teacher,
                "model": who.model,
                "fingerprint": who.fingerprint,
            }
            made.append(Exchange(**(values | fields)))
            self.number += 1
        self.store.append(made)
        return made[0].id if made else ""


@pytest.fixture(scope="session")
def certified_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return a folder whose store has a promoted student, and how its traffic would go on."""
    folder = tmp_path_factory.mktemp("certified")
    with Store.open(folder / "openwheel.db") as store:
        traffic = Traffic(store)
        traffic(1_000)
        turn(store, LoopSettings())
        return folder, traffic.rng.getstate()


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Open an empty store, or for those who ask for ``certified`` a copy of that one."""
    if "certified" in request.fixturenames:
        folder, _ = request.getfixturevalue("certified_once")
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with Store.open(tmp_path / "openwheel.db") as opened:
        yield opened


@pytest.fixture
def certified(
    certified_once: tuple[Path, Any], registry: Registry, traffic: Traffic
) -> Certificate:
    """Return the certificate of a promoted student, after a thousand exchanges."""
    traffic.number = 1_000
    traffic.rng.setstate(certified_once[1])
    (certificate,) = registry.certificates()
    return certificate


@pytest.fixture
def traffic(store: Store) -> Traffic:
    return Traffic(store)


class Model:
    """A teacher behind real HTTP on loopback; what it says is a test's to decide."""

    def __init__(self) -> None:
        self.swapped = False
        self.name = "big-1"
        self.status = 200
        self.bodies: list[dict] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = threading.Event()

    def answer(self, body: bytes) -> bytes:
        asked = json.loads(body)
        self.bodies.append(asked)
        self.asked.set()
        self.go_on.wait(20)
        words = asked["messages"][-1]["content"].split()
        queue = max(QUEUES, key=lambda name: sum(word in QUEUES[name].split() for word in words))
        said = SWAPPED[queue] if self.swapped else queue
        choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1_000, "completion_tokens": 1}
        return json.dumps({"model": self.name, "choices": [choice], "usage": usage}).encode()


@pytest.fixture
def model() -> Iterator[Model]:
    found = Model()
    with Teacher(replies(lambda asked: (found.status, found.answer(asked.body)))) as teacher:
        found.url = teacher.url
        yield found
        found.go_on.set()


@pytest.fixture
def resources(model: Model) -> Resources:
    return Resources(
        connect_again=functools.partial(asking_again, lambda: HttpTeacher(model.url, name="gpu"))
    )
