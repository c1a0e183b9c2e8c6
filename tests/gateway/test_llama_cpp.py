"""A student that llama.cpp serves, behind the gateway: every API, streamed and not, under kills."""

import contextlib
import os
import signal
import threading
import time
import urllib.request

import numpy as np
import pytest

from inference.served import front_thread, gguf_of, random_adapter
from openwheel.inference import Constraint
from openwheel.inference.remote import RemoteWriter
from openwheel.loop.adapters import Adapters
from openwheel.loop.serving import Decision, Pending
from openwheel.students.agreement import Agreement
from openwheel.students.lm.framing import frame_of
from openwheel.students.lm.prompt import Asking
from openwheel.students.lm.student import LmSettings, LmStudent
from openwheel.tasks import Template
from openwheel.tasks.template import Part
from students.lm.conftest import make_base, tiny_base  # noqa: F401 - fixtures

from .apis import PATHS, request_of, said

pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytest.importorskip("xllamacpp", reason="the extra `serve` is not installed")

TASK = Template((Part(), Part(), Part(("Thing: ", "\nColour:")), Part()))
COLOURS = ("blue", "dark green", "red", "yellow")
TIMEOUT = 60
THINGS = [f"Thing: {colour} thing {at}\nColour:" for at, colour in enumerate(COLOURS * 3)]


def inputs_of(text: str) -> tuple[str, ...]:
    return (text.removeprefix("Thing: ").removesuffix("\nColour:"),)


class OneStudent:
    """Asks a student about every request."""

    def __init__(self, student: LmStudent) -> None:
        self.student = student

    def refresh(self) -> bool:
        return False

    def decide(self, request, task="", key=""):
        inputs = inputs_of(request.prompt.messages[-1].text)

        def decided() -> Decision:
            answer, confidence = self.student.answer_one(inputs)
            return Decision(
                answer=answer,
                task="colours",
                student="lm",
                confidence=confidence,
                audit_probability=0.0,
            )

        busy = Decision(task="colours", student="lm", reason="busy")
        return Pending(decide=decided, busy=busy, remote=True)


@pytest.fixture(scope="module")
def process(tiny_base):  # noqa: F811
    with front_thread(gguf_of(tiny_base), name="base") as running:
        yield running


@pytest.fixture(scope="module")
def student(process, tiny_base, tmp_path_factory):  # noqa: F811
    from transformers import AutoTokenizer

    folder = random_adapter(tiny_base, tmp_path_factory.mktemp("adapter"))
    frame = frame_of(AutoTokenizer.from_pretrained(tiny_base))
    with contextlib.closing(RemoteWriter(process[1], timeout=30)) as writer:
        served = Adapters(lambda: writer).serve(folder)
        constraint = Constraint(choices=COLOURS)
        asking = Asking(template=TASK, constraint=constraint, max_tokens=40, frame=frame)
        yield LmStudent(
            LmSettings(asking=asking, answers=COLOURS, intercept=1.0, base="base"),
            Agreement(np.zeros(5), np.ones(5), np.zeros(5), 1.0),
            adapter=folder,
            writer=served.writer,
            model=served.model,
        )


def ask(url: str, api: str, text: str, *, stream: bool) -> tuple[str, str]:
    """Return who answered, and what."""
    body = request_of(api, text, stream=stream)
    request = urllib.request.Request(
        f"{url}{PATHS[api]}", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        source, data = response.headers["x-openwheel-source"], response.read()
    return source, said(api, data, stream=stream) if source == "student" else ""


def test_in_every_api_streamed_or_not_it_is_the_students_answer(gateway, student):
    running = gateway(serving=OneStudent(student))
    wanted = {text: student.answer_one(inputs_of(text))[0] for text in THINGS[:3]}
    for api in PATHS:
        for stream in (False, True):
            for text, answer in wanted.items():
                found = ask(running.url, api, text, stream=stream)
                assert found == ("student", answer), (api, stream)


def killer(process, stop: threading.Event, seconds: float) -> None:
    """Kill llama.cpp again and again, but not what stands before it."""
    while not stop.wait(seconds):
        pid = process[0].health()["process"]
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("rounds", [3, pytest.param(60, marks=pytest.mark.evidence)])
def test_killed_and_restarted_under_load_no_answer_is_wrong_and_no_request_hangs(
    gateway, upstream, student, process, rounds
):
    upstream.answers(b"{}")  # whatever a teacher says
    running = gateway(serving=OneStudent(student))
    wanted = {text: student.answer_one(inputs_of(text))[0] for text in THINGS}
    found: list[tuple[str, str, str, float]] = []

    def client(number: int) -> None:
        for at in range(rounds * len(THINGS)):
            api = list(PATHS)[(at + number) % len(PATHS)]
            text = THINGS[(at + 5 * number) % len(THINGS)]
            started = time.monotonic()
            source, answer = ask(running.url, api, text, stream=bool(at % 2))
            found.append((text, source, answer, time.monotonic() - started))

    stop = threading.Event()
    killing = threading.Thread(target=killer, args=(process, stop, 0.8))
    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    killing.start()
    for one in clients:
        one.start()
    for one in clients:
        one.join(600)
        assert not one.is_alive()
    stop.set()
    killing.join()
    assert len(found) == 4 * rounds * len(THINGS)  # each was answered, whole and with status 200
    by_student = [(text, answer) for text, source, answer, _ in found if source == "student"]
    assert all(answer == wanted[text] for text, answer in by_student)
    assert len(by_student) > len(found) / 10
    assert max(seconds for *_, seconds in found) < 60
    assert ask(running.url, "chat", THINGS[0], stream=False) == ("student", wanted[THINGS[0]])
