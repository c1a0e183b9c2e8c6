"""A model that judges, behind real HTTP on loopback; how it judges is a test's to say."""

import functools
import json
import re
import threading
from collections.abc import Callable, Iterator

import pytest

from openwheel.loop.judging import JudgeCache, TeacherJudge
from openwheel.store import Store
from openwheel.tasks.compare import Pair
from openwheel.teachers import HttpTeacher, asking
from openwheel.wire import Answer
from teacher import Teacher, replies

ANSWERS = re.compile(
    r"<answer-1 (\w+)>\n(.*?)\n</answer-1 \1>\n\n<answer-2 \1>\n(.*?)\n</answer-2 \1>", re.DOTALL
)
NUMBERS = re.compile(r"Reply with (\d+) if they are interchangeable, and with (\d+) if")

Rule = Callable[[str, str], bool]


class JudgingModel:
    """Says of two answers what a rule says, and remembers every body it was sent."""

    def __init__(self) -> None:
        self.rule: Rule = fair
        self.reply = "{number}"
        self.failures: list[int] = []
        self.bodies: list[dict] = []
        self._lock = threading.Lock()

    def answer(self, body: bytes) -> tuple[int, bytes]:
        asked = json.loads(body)
        with self._lock:
            self.bodies.append(asked)
            if self.failures:
                return self.failures.pop(), b'{"error": {"message": "overloaded"}}'
        content = asked["messages"][-1]["content"]
        _, first, second = ANSWERS.search(content).groups()
        same, different = NUMBERS.search(content).groups()
        says = same if self.rule(first, second) else different
        other = different if says == same else same
        text = self.reply.format(number=says, other=other)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, json.dumps({"id": "x", "model": asked["model"], "choices": [choice]}).encode()

    def asked_about(self) -> list[tuple[str, str]]:
        found = [ANSWERS.search(body["messages"][-1]["content"]).groups() for body in self.bodies]
        return [(first, second) for _, first, second in found]


def fair(first: str, second: str) -> bool:
    """The same words in any order are the same."""
    return sorted(first.split()) == sorted(second.split())


@pytest.fixture
def model() -> Iterator[JudgingModel]:
    judging = JudgingModel()
    with Teacher(replies(lambda asked: judging.answer(asked.body))) as teacher:
        judging.url = teacher.url
        yield judging


@pytest.fixture
def make_judge(model: JudgingModel, store: Store) -> Callable[..., TeacherJudge]:
    def make(*, budget: int = 1_000, task: str = "t", name: str = "big", url: str = ""):
        connect = functools.partial(asking, lambda: HttpTeacher(url or model.url))
        cache = JudgeCache(store, task)
        return TeacherJudge(connect, cache, model=name, budget=budget, wait=0.01)

    return make


def pair(teacher: str, student: str, request: str = "When does it open?") -> Pair:
    return Pair(request, Answer(teacher), Answer(student))


@pytest.fixture
def make_pair() -> Callable[..., Pair]:
    return pair
