"""A rung from another package: found by its entry point, learned, certified, saved and served."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from made_up import tickets, write_log

RUNG = '''
from collections import Counter, defaultdict

import numpy as np

from openwheel.students import Answers, Fitted, LabelStudent, Predictions, Rung


class FirstWords(LabelStudent):
    """Answers with what most inputs with the surest of the words got."""

    rung = "words"

    def __init__(self, answers, words):
        self.answers, self.words = answers, words

    def predict_one(self, inputs):
        known = [self.words[word] for word in inputs[0].split() if word in self.words]
        return max(known, key=lambda pair: pair[1], default=(-1, 0.0))

    def predict(self, inputs):
        found = [self.predict_one(values) for values in inputs]
        labels, confidence = zip(*found) if found else ((), ())
        return Predictions(np.array(labels, np.int64), np.array(confidence, np.float64))

    def state(self):
        return {"answers": self.answers, "words": self.words}, {}


def learn(inputs, answers):
    counts = defaultdict(Counter)
    for values, answer in zip(inputs, answers):
        for word in set(values[0].split()):
            counts[word][answer] += 1
    names = tuple(sorted(set(answers)))
    words = {}
    for word, seen in counts.items():
        (answer, most), = seen.most_common(1)
        if seen.total() > 9:
            words[word] = (names.index(answer), most / seen.total())
    return FirstWords(names, words)


def train(lesson):
    """Learn from the earlier half for what is said of the later one, and from all."""
    half = len(lesson.inputs) // 2
    first = learn(lesson.inputs[:half], lesson.answers[:half])
    texts, confidence = first.answer(lesson.inputs[half:])
    agrees = np.array([a == b for a, b in zip(texts, lesson.answers[half:])])
    student = learn(lesson.inputs, lesson.answers)
    return Fitted(student, confidence, agrees, np.arange(half, len(lesson.inputs)))


def load(saved):
    words = {word: tuple(pair) for word, pair in saved.settings["words"].items()}
    return FirstWords(tuple(saved.settings["answers"]), words)


WORDS = Rung("words", frozenset({"label"}), train, load)
BROKEN = "no rung"
'''

SERVE = """
import sys

from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.store import Store
from openwheel.wire import Prompt, PromptMessage, Request

with Store.open(sys.argv[1]) as store:
    serving = RegistryServing(Registry(store))
    for text in sys.argv[2:]:
        request = Request(prompt=Prompt(messages=(PromptMessage("user", text),)))
        print(serving.decide(request).answer, *serving.students().values())
"""


@pytest.fixture
def installed(tmp_path):
    """Return the environment of a process in which a package with a rung is installed."""

    def install(value: str) -> dict[str, str]:
        (tmp_path / "words.py").write_text(RUNG)
        metadata = tmp_path / "words-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: words\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[openwheel.rungs]\nwords = {value}\n")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        return {**os.environ, "PYTHONPATH": path}

    return install


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, *command)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_rung_from_outside_is_learned_and_served(installed, tmp_path: Path):
    database = tmp_path / "openwheel.db"
    log = write_log(tmp_path / "log.jsonl", tickets(1_500, seed=1))
    environment = installed("words:WORDS")
    command = ("-m", "openwheel", "learn", str(log), "--db", str(database), "--rungs", "words")
    learned = run(environment, *command)
    assert learned.returncode == 0, learned.stderr
    assert "words" in learned.stdout
    new = tickets(40, seed=2)
    served = run(environment, "-c", SERVE, str(database), *[row["input"] for row in new])
    lines = [line.split() for line in served.stdout.splitlines()]
    answered = [(line, row) for line, row in zip(lines, new, strict=True) if line[0] != "None"]
    assert len(answered) > 20
    assert {line[1].partition("-")[0] for line in lines} == {"words"}
    assert sum(line[0] != row["output"] for line, row in answered) <= 2


@pytest.mark.parametrize("value", ["words:BROKEN", "words:NONE", "nowhere:WORDS"])
def test_a_rung_that_cannot_be_loaded_is_named(installed, tmp_path: Path, value: str):
    log = write_log(tmp_path / "log.jsonl", tickets(3))
    found = run(installed(value), "-m", "openwheel", "learn", str(log), "--rungs", "words")
    assert found.returncode != 0
    assert value in found.stderr
    assert "Traceback" not in found.stderr
