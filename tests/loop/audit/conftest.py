"""A task with customers as slices, its student, and audits of that."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from made_up import QUEUES, ticket, write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import Decision, RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.store import Exchange, Store
from openwheel.store.exchange import REJECTED
from openwheel.wire import Answer, Usage

CUSTOMERS = ("acme", "globex", "initech")


def messages(customer: str, text: str) -> list[dict[str, str]]:
    system = f"You sort tickets for the customer {customer}. Answer with one queue."
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


@pytest.fixture(scope="session")
def learned_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a store whose one task has a student in front of its traffic."""
    folder = tmp_path_factory.mktemp("learned")
    rng = random.Random(5)
    rows = []
    for i in range(1_500):
        queue = rng.choice(list(QUEUES))
        said = {"role": "assistant", "content": queue}
        rows.append({"messages": [*messages(CUSTOMERS[i % 3], ticket(rng, queue)), said]})
    log = write_log(folder / "log.jsonl", rows)
    with Store.open(folder / "openwheel.db") as store:
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
        learn(store, LoopSettings(), source="made up")
    return folder


@pytest.fixture
def store(learned_once: Path, tmp_path: Path) -> Iterator[Store]:
    """Return a copy of that store."""
    shutil.copytree(learned_once, tmp_path, dirs_exist_ok=True)
    with Store.open(tmp_path / "openwheel.db") as opened:
        yield opened


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


@pytest.fixture
def audited(store: Store, registry: Registry) -> Callable[..., int]:
    """Put audits of the promoted student into the store: one for each character of a text.

    ``.`` agrees, ``x`` disagrees; customers take turns unless one is named.
    Returns the newest exchange that is assigned to its task.
    """
    rng = random.Random(9)

    def put(losses: str, *, customer: str = "", probability: float = 0.05, usage: int = 0) -> int:
        (promotion,) = registry.promotions().values()
        newest = store.last_seq()
        exchanges = []
        for i, kind in enumerate(losses):
            text = ticket(rng, "billing")
            asked = json.dumps({"messages": messages(customer or CUSTOMERS[i % 3], text)})
            exchanges.append(
                Exchange(
                    id=f"r{newest + i}-audit",
                    time=1_000.0,
                    request=asked.encode(),
                    answer=Answer("account" if kind == "x" else "billing"),
                    source="teacher",
                    teacher="big",
                    unbiased=True,
                    audit_probability=probability,
                    student=promotion.certificate.student,
                    student_answer="billing",
                    confidence=0.99,
                    usage=Usage(usage, 0) if usage else None,
                )
            )
        store.append(exchanges)
        return assign_new(store, registry, after=newest)

    return put


@pytest.fixture
def deferred(store: Store, registry: Registry) -> Callable[..., int]:
    """Put what the teacher answered to deferred requests into the store, one a character.

    ``.`` the student would have said it too, ``x`` it would have said something else, ``?`` it
    knows no such answer, ``r`` the teacher rejected the request.
    """
    rng = random.Random(11)
    said = {
        ".": Answer("billing"),
        "x": Answer("account"),
        "?": Answer("a new queue"),
        "r": REJECTED,
    }

    def put(kinds: str, *, guess: str | None = "billing") -> int:
        newest = store.last_seq()
        store.append(
            [
                Exchange(
                    id=f"d{newest + i}",
                    time=1_000.0,
                    request=json.dumps(
                        {"messages": messages(CUSTOMERS[i % 3], ticket(rng, "billing"))}
                    ).encode(),
                    answer=said[kind],
                    source="teacher",
                    teacher="big",
                    unbiased=False,
                    audit_probability=0.05,
                    student_guess=guess,
                    confidence=0.2,
                )
                for i, kind in enumerate(kinds)
            ]
        )
        return assign_new(store, registry, after=newest)

    return put


@pytest.fixture
def decided(registry: Registry) -> Callable[..., Decision]:
    """Return what a worker that starts now decides about an easy ticket of a customer."""

    def decide(customer: str = "acme") -> Decision:
        text = "invoice payment refund tax amount 4711"
        body = json.dumps({"messages": messages(customer, text)}).encode()
        asked = Exchange(id="x", request=body, answer=Answer(""), source="teacher")
        return RegistryServing(registry).decide(asked.read())

    return decide
