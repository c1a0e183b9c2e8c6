"""Made-up traffic through the product's own `learn`, whose true disagreement can be counted.

Unlike `worlds.py`, which draws confidences and losses, these streams are requests and answers: they
are stored, found as a task, split, trained on, clustered and judged by the product. The truth is
what a client gets from the promoted student on fresh traffic of the same kind.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openwheel.loop.offline.evaluate import outcome_of
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing, settled
from openwheel.loop.settings import LoopSettings
from openwheel.settings import TaskSection
from openwheel.store import Exchange, Store
from openwheel.wire import Answer, ToolCall

Random = np.random.Generator

FRESH = 3_000
"""Requests by which the truth is counted: its standard error is 0.4% where 5% disagree."""

FIRST = [
    a + b
    for a in ["An", "Bo", "Ca", "De", "El", "Fa", "Gi", "Ha", "Jo", "Ka", "Le", "Mi"]
    for b in ["na", "ris", "vik", "mer"]
]
OPENINGS = [
    "hello, ",
    " hi, ",
    " please help, ",
    " urgent: ",
    " dear team, ",
    " again: ",
    " fyi ",
    " good morning, ",
]
MATTERS = [
    "the door of the lift does not close",
    "no hot water in the kitchen",
    "printer on floor two jams",
    "the meeting room is too cold",
    "badge reader rejects my card",
    "a lamp in the corridor flickers",
    "the toilet is blocked",
    "network socket at my desk is dead",
    "coffee machine leaks again",
    "the window cannot be locked",
    "projector shows no picture",
    "smell of gas in the basement",
]
WORDS = {
    "billing": ["invoice", "payment", "refund", "charge", "receipt", "tax", "amount", "card"],
    "delivery": ["parcel", "courier", "late", "address", "tracking", "shipment", "depot", "van"],
    "account": ["password", "login", "email", "profile", "username", "locked", "reset", "phone"],
    "product": ["broken", "screen", "battery", "button", "noise", "scratch", "warranty", "part"],
}
COMMON = [
    "the",
    "my",
    "please",
    "since",
    "again",
    "about",
    "with",
    "help",
    "today",
    "still",
    "it",
    "is",
    "not",
]
SYSTEM = "You sort messages. Reply with the name and nothing else."


class Said(NamedTuple):
    """One message and what the teacher says to it."""

    text: str
    answer: Answer


Source = Callable[[Random, int], list[Said]]


def ticket(rng: Random, queue: str) -> str:
    words = [rng.choice(WORDS[queue] if rng.random() < 0.6 else COMMON) for _ in range(5)]
    return " ".join([*words, rng.choice(WORDS[queue]), str(rng.integers(10**6))])


def tickets(odd: float, kind: str) -> Source:
    """Messages that are easy to sort; to a share of them the teacher gives no finished answer."""

    def draw(rng: Random, n: int) -> list[Said]:
        found = []
        for _ in range(n):
            queue = str(rng.choice(list(WORDS)))
            answer = Answer(queue)
            if rng.random() < odd:
                answer = {
                    "filtered": Answer(
                        "I'm sorry, but I can't help with that.", (), "content_filter"
                    ),
                    "cut": Answer("The queue that fits this message best is", (), "length"),
                    "tool": Answer("", (ToolCall("escalate", "{}"),), "tool_calls"),
                }[kind]
            found.append(Said(ticket(rng, queue), answer))
        return found

    return draw


def incidents(length: float, other: float) -> Source:
    """Incidents that several people report in their own words; all get one team's name.

    For a share ``other`` of the incidents it is another team than the usual one.
    """

    def draw(rng: Random, n: int) -> list[Said]:
        found: list[Said] = []
        while len(found) < n:
            matter = int(rng.integers(len(MATTERS)))
            team = int(rng.integers(6)) if rng.random() < other else matter % 6
            for _ in range(int(rng.geometric(1 / length))):
                opening, name = rng.choice(OPENINGS), " ".join(rng.choice(FIRST, 2))
                text = f"{opening} {MATTERS[matter]}, says {name}"
                found.append(Said(text, Answer(f"team {team}")))
        return found[:n]

    return draw


def repeats(length: float, other: float, inputs: int = 60) -> Source:
    """Inputs in bursts; within one the teacher says the same, for a share of them another thing."""

    def draw(rng: Random, n: int) -> list[Said]:
        found: list[Said] = []
        while len(found) < n:
            i = int(rng.integers(inputs))
            label = int(rng.integers(8)) if rng.random() < other else i % 8
            said = Said(f"ticket text {'abcdefgh'[i % 8] * 3} number {i}", Answer(f"queue {label}"))
            found += [said] * int(rng.geometric(1 / length))
        return found[:n]

    return draw


def popular(share: float, flips: float, inputs: int = 40) -> Source:
    """A share of the requests are a few inputs, on which the teacher is not of one mind."""
    rng = np.random.default_rng(7)
    queues = list(WORDS)
    hot = [(ticket(rng, queue), queue) for queue in rng.choice(queues, inputs)]

    def draw(rng: Random, n: int) -> list[Said]:
        found = []
        for usual in tickets(0.0, "")(rng, n):
            said = usual
            if rng.random() < share:
                text, queue = hot[int(rng.integers(inputs))]
                if rng.random() < flips:
                    queue = queues[(queues.index(queue) + 1) % len(queues)]
                said = Said(text, Answer(queue))
            found.append(said)
        return found

    return draw


KINDS = {"order": "please send", "refund": "take back", "complaint": "broken on arrival:"}
THINGS = ("lamps", "chairs", "fans", "shelves", "rugs", "clocks")


def orders(odd: float) -> Source:
    """Orders as records; to a share of them the teacher errs, in half of the fields on average."""

    def draw(rng: Random, n: int) -> list[Said]:
        found = []
        for _ in range(n):
            kind, thing = str(rng.choice(list(KINDS))), str(rng.choice(THINGS))
            name, count = " ".join(rng.choice(FIRST, 2)), int(rng.integers(100, 10_000))
            text = f"{KINDS[kind]} {count} {thing} for {name}"
            record = {"kind": kind, "thing": thing, "count": count, "name": name}
            wrong = {
                "kind": str(rng.choice(list(KINDS))),
                "thing": str(rng.choice(THINGS)),
                "count": count + 1,
                "name": name.upper(),
            }
            if rng.random() < odd:
                record |= {field: wrong[field] for field in record if rng.random() < 0.5}
            found.append(Said(text, Answer(json.dumps(record))))
        return found

    return draw


PLAIN, BY_FIELDS = TaskSection(), TaskSection(loss="fields")

RECORDS: tuple[tuple[str, Source, TaskSection, int], ...] = (
    ("records whole, 6% in error", orders(0.06), PLAIN, 1_000),
    ("records by fields, 12% in error", orders(0.12), BY_FIELDS, 1_000),
    ("control: records by fields, 3% in error", orders(0.03), BY_FIELDS, 1_600),
)
"""Name, source, settings of the task and exchanges of each line of records."""

SOURCES: tuple[tuple[str, Source, tuple[str, ...], int], ...] = (
    ("answers filtered, 6%", tickets(0.06, "filtered"), ("linear",), 2_000),
    ("answers cut, 6%", tickets(0.06, "cut"), ("linear",), 2_000),
    ("tool calls, 5.5%", tickets(0.055, "tool"), ("linear",), 2_000),
    ("control: answers cut, 1%", tickets(0.01, "cut"), ("linear",), 2_000),
    ("incidents of 20, in different words", incidents(20, 0.075), ("linear",), 1_600),
    ("the same, single", incidents(1, 0.075), ("linear",), 1_600),
    ("control: incidents of 20, 1% elsewhere", incidents(20, 0.01), ("linear",), 6_000),
    ("bursts of 10 equal inputs", repeats(10, 0.06), ("exact",), 1_200),
    ("bursts of 10 equal inputs, more", repeats(10, 0.08), ("exact",), 4_000),
    ("the same, single", repeats(1, 0.06), ("exact",), 1_200),
    ("40 popular inputs, 30% contradicted", popular(0.25, 0.3), ("linear",), 3_000),
    ("control: 40 popular inputs", popular(0.25, 0.0), ("linear",), 3_000),
)
"""Name, source, rungs and exchanges of each line."""


TASK = "orders"


def exchanges(said: Sequence[Said]) -> Iterator[Exchange]:
    for i, (text, answer) in enumerate(said):
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        body = json.dumps({"model": "big", "messages": messages}).encode()
        yield Exchange(
            id=f"e/{i}",
            time=1.8e9 + 3.0 * i,
            request=body,
            answer=answer,
            source="log",
            task=TASK,
        )


def truth(
    rng: Random, source: Source, rungs: tuple[str, ...], n: int, task: TaskSection = PLAIN
) -> float | None:
    """Learn from a stream; return the true disagreement of what is served, None if nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "openwheel.db")
        store.append(list(exchanges(source(rng, n))))
        settings = LoopSettings(rungs=rungs, tasks={TASK: task})
        found = learn(store, settings, source="made up")
        if {task.name for task in found.tasks} != {TASK}:
            raise ValueError(f"the settings are for the task {TASK}, and there is another")
        if not any(task.certified for task in found.tasks):
            return None
        serving, answered, wrong = RegistryServing(Registry(store)), 0, 0.0
        for exchange in exchanges(source(rng, FRESH)):
            decision = settled(serving.decide(exchange.read(), exchange.task))
            if decision.answer is not None:
                answered += 1
                wrong += outcome_of(exchange.answer, decision).loss or 0
        if not answered:
            raise ValueError("a student was certified and answered none of the fresh requests")
        return wrong / answered
