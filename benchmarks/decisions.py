"""What a decision that a student answers costs, in CPU, beside the student's own time.

SNIPS of ``../shared/data``: one choice of seven intents, with human labels as a teacher's answers,
learned by a turn. The gateway's app is called in this process, about texts of the test split that
its student is sure of: reading the request, finding the task, deciding, writing the answer and
making the exchange are counted, sockets and HTTP are not (``gateway.py`` has those). CPU time is of
all threads. The student's own time is what it takes to answer the same inputs, with probabilities;
it is subtracted. Once without capture, and once with what capture writes to SQLite.

Run: ``python benchmarks/decisions.py [--questions 2000] [--rounds 5]``
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from starlette.types import ASGIApp, Message

from openwheel.gateway import CaptureWriter, create_app, spare_collector
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Exchange, Store
from openwheel.students import LabelStudent
from openwheel.teachers import NoTeacher
from openwheel.wire import Answer
from shared import about, rows

TRAINED = 1_500
PATH = "/v1/decisions"


def body(text: str, intents: Sequence[str], times: int = 1) -> bytes:
    """Return a request that asks for the intent of a text, once or more often."""
    question = {
        "type": "choice",
        "instructions": "Which intent does the user have?",
        "choices": [{"value": intent} for intent in intents],
    }
    return json.dumps({"model": "m", "input": text, "questions": [question] * times}).encode()


def learn(store: Store, intents: Sequence[str], train: Sequence[tuple[str, str]]) -> None:
    """Learn the question, and promote its student for all of the traffic."""
    store.append(
        [
            Exchange(
                id=f"e{i}",
                time=1.7e9 + i,
                request=body(text, intents),
                api="decisions",
                answer=Answer(label, probabilities=((label, 1.0),)),
                source="teacher",
                teacher="gold",
                model="m",
            )
            for i, (text, label) in enumerate(train)
        ]
    )
    turn(store, LoopSettings(canary=1.0, audit=0.001, audit_least=0.001))


async def ask(app: ASGIApp, request: bytes) -> Message:
    """Send a request to the app; return the head of its response."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": request, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"user-agent", b"OpenAI/Python 3.57.0")]
    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode()}
    await app(scope | {"query_string": b"", "headers": headers}, receive, send)
    return sent[0]


async def measure(app: ASGIApp, requests: Sequence[bytes], capture: CaptureWriter | None) -> float:
    """Return the CPU milliseconds of a request."""
    start = time.process_time()
    for request in requests:
        await ask(app, request)
    if capture is not None:
        capture.flush()
    return 1000 * (time.process_time() - start) / len(requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=2_000, help="a round and row")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    data = list(rows("snips"))
    intents = sorted({row["intent"] for row in data})
    train = [(row["text"], row["intent"]) for row in data if row["split"] == "train"][:TRAINED]
    test = [row["text"] for row in data if row["split"] != "train"]
    print(about("decisions.py"))
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "a.db") as store:
        learn(store, intents, train)
        registry = Registry(store)
        [certificate] = registry.certificates()
        student = registry.load(registry.candidate(certificate.student))
        assert isinstance(student, LabelStudent)
        serving = RegistryServing(registry)
        sure = [text for text in test if student.answer_one((text,))[1] >= certificate.threshold]
        asked = [sure[i % len(sure)] for i in range(options.questions)]
        capture = CaptureWriter(store)
        spare_collector()  # as a worker of the gateway does
        for round_number in range(options.rounds + 1):  # the first one warms up
            start = time.process_time()
            for text in asked:
                student.weigh_one((text,))
            own = 1000 * (time.process_time() - start) / len(asked)
            measured = {"the student itself": own}
            for name, keeps in (("", None), (", captured", capture)):
                app = create_app(NoTeacher(), serving, keeps, rng=lambda: 0.9)
                for times in (1, 10):
                    number = options.questions // times
                    requests = [body(text, intents, times) for text in asked[:number]]
                    spent = asyncio.run(measure(app, requests, keeps)) / times
                    each = f"{times} question{'s' if times > 1 else ''} a request{name}"
                    measured[each] = spent - own
            for name, cost in measured.items():
                if round_number:
                    found.setdefault(name, []).append(cost)
        capture.close(5.0)
    print(
        f"SNIPS, {len(intents)} choices, {len(train):,} exchanges learned, {len(sure):,} texts "
        f"that the student answers, {options.questions:,} questions a round, {options.rounds} "
        "rounds; CPU ms a question, median [range of rounds]"
    )
    for name, costs in found.items():
        print(f"{name}: {np.median(costs):.3f} [{min(costs):.3f}, {max(costs):.3f}]")


if __name__ == "__main__":
    main()
