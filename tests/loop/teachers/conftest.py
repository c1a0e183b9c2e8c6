"""A task whose teacher can become another one."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from made_up import QUEUES, ticket
from openwheel.loop.registry import Registry
from openwheel.traffic import Exchange, Store
from openwheel.wire import Answer

SWAPPED = dict(zip(QUEUES, [*list(QUEUES)[1:], next(iter(QUEUES))], strict=True))
"""What a teacher says that contradicts the one before."""


class Who(NamedTuple):
    """A teacher: its endpoint, what it calls its model, and its fingerprint."""

    teacher: str = "gpu"
    model: str = "big-1"
    fingerprint: str = "fp_a"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "openwheel.db") as opened:
        yield opened


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


class Traffic:
    """Puts exchanges into a store as a gateway would whose teacher answers everything."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rng = random.Random(7)
        self.number = 0

    def __call__(self, n: int, who: Who = Who(), *, swapped: bool = False, **fields) -> str:
        """Answer ``n`` tickets, and return the id of the first exchange."""
        made = []
        for _ in range(n):
            queue = self.rng.choice(list(QUEUES))
            said = SWAPPED[queue] if swapped else queue
            content = ticket(self.rng, queue)
            body = {"model": "big", "messages": [{"role": "user", "content": content}]}
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


@pytest.fixture
def traffic(store: Store) -> Callable[..., str]:
    return Traffic(store)
