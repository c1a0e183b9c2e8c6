"""The SDKs' helpers for structured output and tools, answered by students that learned from a log.

The log is what these helpers send, with other texts: a first run against a teacher shows it.
"""

import asyncio
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from clients.conftest import run_script
from made_up_calls import call, several_calls, tracked
from made_up_records import order
from openwheel.gateway import CaptureWriter, create_app, gateway_thread
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.store.exchange import Exchange
from openwheel.teachers import HttpTeacher
from openwheel.wire import APIS, Answer
from teacher import Asked, Teacher, respond

pytestmark = pytest.mark.evidence

LEARNED = 700


def with_all_arguments(answer: Answer) -> Answer:
    """Return calls as of strict schemas, which have a null for what is not there."""
    made = []
    for one in answer.tool_calls:
        arguments = json.loads(one.arguments)
        if one.name == "book_table":
            arguments.setdefault("people", None)
        made.append(call(one.name, arguments).tool_calls[0])
    return Answer("", tuple(made), "tool_calls")


class Knowing:
    """A teacher that knows the answer to each text, and to each step that follows it."""

    def __init__(self) -> None:
        rng = random.Random(5)
        self.records = dict(order(rng) for _ in range(LEARNED))
        self.calls = {text: with_all_arguments(a) for text, a in several_calls(LEARNED, seed=5)}
        self.steps = {text: steps for text, steps in tracked(LEARNED, seed=5) if len(steps) == 2}

    def done(self, path: str, body: bytes) -> int:
        """Return how many results of tools a request has."""
        api = next(api for api in APIS.values() if api.path == path)
        messages = api.read_request(body).prompt.messages
        return sum(message.role == "tool" for message in messages)

    def said(self, path: str, body: bytes) -> Answer:
        api = next(api for api in APIS.values() if api.path == path)
        messages = api.read_request(body).prompt.messages
        text = next((message.text for message in messages if message.role == "user"), None)
        assert text is not None, (path, body)
        if text in self.records:
            return Answer(json.dumps(self.records[text]))
        if text in self.calls:
            return self.calls[text]
        done = self.done(path, body)
        steps = self.steps[text]
        return steps[done][0] if done < len(steps) else Answer(f"It is in {steps[1][1]}.")

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        api = next(api for api in APIS.values() if api.path == asked.path)
        request, said = api.read_request(asked.body), self.said(asked.path, asked.body)
        if request.stream:
            events = b"".join(api.events(said, request))
            writer.write(respond(events, head="content-type: text/event-stream"))
        else:
            writer.write(respond(api.body(said, request)))

    def arguments(self, record: str, several: str, text: str) -> list[str]:
        """Return the command line of the script."""
        return [record, several, text, *(result for _, result in self.steps[text])]

    def log(self, asked: list[Asked]) -> list[Exchange]:
        """Return the exchanges of requests like some, with all the texts there are."""
        firsts = {**{next(iter(known)): known for known in (self.records, self.calls, self.steps)}}
        made = []
        for number, text in enumerate(firsts):
            shapes: dict[int, list[Asked]] = defaultdict(list)
            for one in asked:
                if json.dumps(text).encode() in one.body:
                    shapes[self.done(one.path, one.body)].append(one)
            for i, other in enumerate(firsts[text]):
                for done, like in shapes.items():
                    shape = like[i % len(like)]
                    body = shape.body.replace(json.dumps(text).encode(), json.dumps(other).encode())
                    if text in self.steps:
                        body = self.with_steps(body, text, other)
                    api = next(api for api in APIS.values() if api.path == shape.path)
                    made.append(
                        Exchange(
                            id=f"{number}-{i}-{done}",
                            time=1.7e9 + i,
                            request=body,
                            api=api.name,
                            answer=self.said(shape.path, body),
                            source="log",
                            model="big",
                        )
                    )
        return sorted(made, key=lambda one: (one.time, one.id))

    def with_steps(self, body: bytes, text: str, other: str) -> bytes:
        """Return a request with the calls and results of another conversation in their places."""
        for (one, result), (own, own_result) in zip(
            self.steps[text], self.steps[other], strict=True
        ):
            for value, put in (
                (one.tool_calls[0].arguments, own.tool_calls[0].arguments),
                (result, own_result),
            ):
                body = body.replace(json.dumps(value).encode(), json.dumps(put).encode())
                compact, new = (
                    json.dumps(json.loads(json_text), separators=(",", ":")).encode()
                    for json_text in (value, put)
                )
                body = body.replace(compact, new)
        return body


@pytest.fixture(scope="module")
def knowing() -> Knowing:
    return Knowing()


@pytest.fixture(scope="module")
def asked(knowing: Knowing, environment: Any) -> list[Asked]:
    """What the script asks."""
    texts = [next(iter(known)) for known in (knowing.records, knowing.calls, knowing.steps)]
    with Teacher(knowing) as teacher:
        found = run_script(
            "structured.py", environment("official"), teacher.origin, knowing.arguments(*texts)
        )
        assert found["records"]["found"]["chat.completions.parse"] == knowing.records[texts[0]]
        return list(teacher.received)


@pytest.fixture(scope="module")
def seen(
    knowing: Knowing, asked: list[Asked], environment: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the script sees of students, and the texts that it asks."""
    folder: Path = tmp_path_factory.mktemp("learned")
    with Store.open(folder / "openwheel.db") as store, Teacher(knowing) as teacher:
        store.append(knowing.log(asked))
        found = learn(store, LoopSettings(rungs=("linear",)), source="made up")
        serving = RegistryServing(Registry(store))
        refused = [
            f"{task.name}: {task.reason} {task.warnings}"
            for task in found.tasks
            if task.form != "text" and not task.certified
        ]
        assert refused == []
        texts = [
            next(
                text for text in list(known)[::-1] if answered(serving, asked, first, text, knowing)
            )
            for known in (knowing.records, knowing.calls, knowing.steps)
            for first in [next(iter(known))]
        ]
        capture = CaptureWriter(store)
        try:
            app = create_app(HttpTeacher(teacher.url), serving, capture)
            with gateway_thread(app) as url:
                made = run_script(
                    "structured.py", environment("official"), url, knowing.arguments(*texts)
                )
        finally:
            capture.close(5.0)
    return {"texts": texts, **made}


def answered(
    serving: RegistryServing, asked: list[Asked], first: str, text: str, knowing: Knowing
) -> bool:
    """Whether students answer all requests like those with a text, but the last of a loop."""
    for one in asked:
        if json.dumps(first).encode() not in one.body:
            continue
        body = one.body.replace(json.dumps(first).encode(), json.dumps(text).encode())
        if first in knowing.steps:
            body = knowing.with_steps(body, first, text)
        api = next(api for api in APIS.values() if api.path == one.path)
        if not knowing.said(one.path, body).text or first in knowing.records:
            decision = serving.decide(api.read_request(body))
            if decision.answer is None:
                return False
    return True


def test_records_are_parsed_of_every_api_whole_and_streamed(seen, knowing):
    found = seen["records"]
    assert found["sources"] == ["student"] * 6
    assert len(found["found"]) == 6
    for name, parsed in found["found"].items():
        assert parsed == knowing.records[seen["texts"][0]], name


def test_calls_are_parsed_of_every_api_whole_and_streamed(seen, knowing):
    found = dict(seen["calls"]["found"])
    assert seen["calls"]["sources"] == ["student"] * 6
    wanted = [
        [one.name, json.loads(one.arguments)] for one in knowing.calls[seen["texts"][1]].tool_calls
    ]
    assert found.pop("done") == [name for name, _ in wanted]
    assert len(found) == 6
    for name, parsed in found.items():
        assert parsed == wanted, name


@pytest.mark.parametrize("loop", ["chat_loop", "responses_loop", "tool_runner"])
def test_students_give_the_calls_of_a_loop_and_the_teacher_its_last_text(seen, knowing, loop):
    steps = knowing.steps[seen["texts"][2]]
    wanted = {
        "calls": [
            [one.name, json.loads(one.arguments)]
            for answer, _ in steps
            for one in answer.tool_calls
        ],
        "text": f"It is in {steps[1][1]}.",
    }
    found = seen[loop]
    whole = ["student", "student", "teacher"]
    if loop == "tool_runner":
        assert found["found"] == {"whole": wanted, "streamed": wanted}
        assert found["sources"] == whole * 2
    else:
        assert found["found"] == wanted
        assert found["sources"] == whole
