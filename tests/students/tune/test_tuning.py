import contextlib
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from openwheel.errors import ModelError
from openwheel.students import load_student, save_student, train
from openwheel.students import tuned as tuned_encoder
from openwheel.students.encoder import SentenceEncoder
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER
from openwheel.students.tune.order import Order, Recipe, Step, Tune
from openwheel.students.tune.tuning import Seen, carrying_out
from openwheel.students.tuned import FOLDS

RECIPE = Recipe(passes=3, batch=32, rate=3e-3, prototype_rate=2e-2, fewest_steps=150)
QUICK = Recipe(passes=3, batch=32, rate=6e-3, prototype_rate=2e-2, fewest_steps=80)
"""Enough to tell nearly all of `ordered`, where an encoder as it is tells six in ten."""


def ordered(n, seed=0):
    """Texts whose answer is which of two letters comes first: n-grams hardly tell, places do."""
    draw = random.Random(seed)
    inputs, answers = [], []
    for _ in range(n):
        words = draw.sample("cdefghijklmnopqrstuvwxyz", 6)
        first, second = sorted(draw.sample(range(8), 2))
        pair = draw.choice(["ab", "ba"])
        words.insert(first, pair[0])
        words.insert(second, pair[1])
        inputs.append((" ".join(words),))
        answers.append(pair[0])
    return inputs, answers


@pytest.fixture(scope="module")
def encoder(make_encoder):
    return SentenceEncoder(str(make_encoder()))


@pytest.fixture(
    scope="module", params=[(500, QUICK), pytest.param((700, RECIPE), marks=pytest.mark.evidence)]
)
def lessons(request):
    """How many texts it is trained on, and how."""
    return request.param


@pytest.fixture(scope="module")
def tuned(encoder, lessons):
    texts, recipe = lessons
    tune = Tune(always=True, recipe=recipe)
    return train("encoder", *ordered(texts), variables=(0,), encoder=encoder, tune=tune)


def test_a_trained_encoder_knows_more_of_its_task(encoder, tuned, lessons):
    before = train("encoder", *ordered(lessons[0]), variables=(0,), encoder=encoder)
    inputs, answers = ordered(400, seed=1)

    def right(student):
        return np.mean(
            [
                student.answers[label] == answer
                for label, answer in zip(student.predict(inputs).labels, answers, strict=True)
            ]
        )

    assert right(tuned.student) > right(before.student) + 0.05
    assert tuned.student.encoder.fingerprint != encoder.fingerprint


def test_what_training_says_is_what_traffic_will_show(tuned, lessons):
    """Confidences out of fold come from bodies that have not seen the fold either."""
    inputs, answers = ordered(400, seed=1)
    predictions = tuned.student.predict(inputs)
    agrees = [
        tuned.student.answers[label] == answer
        for label, answer in zip(predictions.labels, answers, strict=True)
    ]
    assert len(tuned.confidence) == lessons[0]
    assert tuned.agrees.mean() <= np.mean(agrees) + 0.05


def test_it_is_saved_and_answers_alike(tuned, tmp_path):
    hashes = save_student(tuned.student, tmp_path / "student")
    assert {GRAPH, TOKENIZER} <= set(hashes)
    loaded = load_student(tmp_path / "student", hashes)
    inputs = ordered(50, seed=2)[0]
    np.testing.assert_array_equal(
        loaded.predict(inputs).confidence, tuned.student.predict(inputs).confidence
    )
    for row in (0, 7):
        label, confidence = loaded.predict_one(inputs[row])
        assert confidence == pytest.approx(loaded.predict(inputs).confidence[row], abs=1e-6)
        assert label == loaded.predict(inputs).labels[row]


class Unchanged:
    """A training that left the encoder as it was, which pays for no task."""

    def __init__(self, order):
        self.order = order

    def fold(self, fold):
        vectors = SentenceEncoder(self.order.encoder).embed(self.order.texts)
        places = np.arange(len(vectors)) % FOLDS != fold
        means = [
            vectors[places & (np.array(self.order.labels) == answer)].mean(0)
            for answer in range(self.order.answers)
        ]
        return Seen(vectors, np.stack([mean / np.linalg.norm(mean) for mean in means]))

    def whole(self):
        raise AssertionError("Nobody waits for what is not worth it")


def test_what_tells_no_more_than_before_is_not_worth_it(encoder, caplog, monkeypatch):
    monkeypatch.setattr(
        tuned_encoder, "carrying_out", lambda order, _: contextlib.nullcontext(Unchanged(order))
    )
    with caplog.at_level(logging.INFO, "openwheel.students"):
        fitted = train("encoder", *ordered(300), variables=(0,), encoder=encoder, tune=Tune())
    assert fitted.student.encoder is encoder
    assert "does not pay" in caplog.text


@pytest.mark.evidence
@pytest.mark.parametrize("steps", [10, 30])
def test_answers_by_coin_flip_are_not_worth_it(encoder, caplog, steps):
    draw = random.Random(3)
    inputs = ordered(300)[0]
    answers = [draw.choice(["heads", "tails"]) for _ in inputs]
    tune = Tune(recipe=Recipe(fewest_steps=steps))
    told = []
    with caplog.at_level(logging.INFO, "openwheel.students"):
        fitted = train(
            "encoder",
            inputs,
            answers,
            variables=(0,),
            encoder=encoder,
            tune=tune,
            progress=lambda *about: told.append(about),
        )
    assert fitted.student.encoder is encoder
    assert "does not pay" in caplog.text
    _check_it_was_said_what_it_takes(told)


def _check_it_was_said_what_it_takes(told):
    without = 'tune_encoder = "never" goes without'
    before, measured = [said for said, *of in told if not of]
    assert before == f"training the encoder on 300 texts; {without}"
    assert re.fullmatch(
        r"training the encoder takes about \d+ (s|min), less if it turns out not to pay; "
        + without,
        measured,
    )
    steps = [tuple(of) for said, *of in told if of and said == f"training the encoder ({without})"]
    assert steps[0] == (0, None, "steps")  # how many there are is told by the process
    assert steps[-1][0] == steps[-1][1] > 0


@pytest.mark.evidence
def test_nothing_leaks_from_what_it_was_trained_on(encoder):
    draw = random.Random(4)
    inputs = ordered(300)[0]
    answers = [draw.choice(["heads", "tails"]) for _ in inputs]
    tune = Tune(always=True, recipe=RECIPE)
    fitted = train("encoder", inputs, answers, variables=(0,), encoder=encoder, tune=tune)
    assert abs(fitted.agrees.mean() - 0.5) < 0.1
    ranks = np.argsort(np.argsort(fitted.confidence))
    right, wrong = ranks[fitted.agrees], ranks[~fitted.agrees]
    above = (right[:, None] > wrong[None]).mean()
    assert abs(above - 0.5) < 0.12


def test_what_is_not_ready_in_time_is_left(encoder, caplog):
    tune = Tune(always=True, deadline_s=0.3, recipe=RECIPE)
    fitted = train("encoder", *ordered(300), variables=(0,), encoder=encoder, tune=tune)
    assert fitted.student.encoder is encoder
    assert "at most 0.3 s" in caplog.text


@pytest.mark.evidence
def test_it_leaves_nothing_when_it_is_stopped(encoder):
    def stop(said, *_):
        if "takes about" in said:
            raise KeyboardInterrupt

    tune = Tune(always=True, recipe=Recipe(passes=1_000))
    with pytest.raises(KeyboardInterrupt):
        train("encoder", *ordered(300), variables=(0,), encoder=encoder, tune=tune, progress=stop)
    assert not Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def order_of(encoder, folder, **changes):
    inputs, answers = ordered(300)
    return Order(
        folder=str(folder),
        encoder=encoder.name,
        texts=tuple(text for (text,) in inputs),
        answers=2,
        labels=tuple("ab".index(answer) for answer in answers),
        weights=(1.0,) * len(inputs),
        folds=tuple(i % 2 for i in range(len(inputs))),
        **changes,
    )


# A process spends its first seconds on imports.
WHEN = pytest.mark.parametrize("late", [False, pytest.param(True, marks=pytest.mark.evidence)])


@WHEN
def test_a_killed_process_says_so(encoder, tmp_path, late):
    order = order_of(encoder, tmp_path, recipe=Recipe(passes=10_000))

    def kill(event=None):
        if late == isinstance(event, Step):
            child = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            os.kill(int(child[-1]), signal.SIGKILL)

    with carrying_out(order, kill) as tuning:
        kill()
        with pytest.raises(ModelError, match="signal 9"):
            tuning.whole()
    assert not {GRAPH, TOKENIZER} & {path.name for path in tmp_path.iterdir()}


def test_an_encoder_that_cannot_be_loaded_is_named(tmp_path, encoder):
    order = order_of(encoder, tmp_path)
    broken = Order(folder=order.folder, encoder=str(tmp_path / "no"), texts=order.texts)
    with carrying_out(broken) as tuning, pytest.raises(ModelError, match=str(tmp_path / "no")):
        tuning.encoder()


PARENT = """
import sys
from pathlib import Path
import msgspec
from openwheel.students.tune.order import Order
from openwheel.students.tune.tuning import Seen, carrying_out
from openwheel.students.tuned import FOLDS
order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
late = sys.argv[2:] == ["late"]
with carrying_out(order, lambda event: print("told", flush=True)) as tuning:
    if not late:
        print("told", flush=True)
    tuning.whole()
"""


@WHEN
def test_it_ends_with_the_process_that_asked_and_clears_up(encoder, tmp_path, late):
    import msgspec

    work = tmp_path / "work"
    work.mkdir()
    order = order_of(encoder, work, recipe=Recipe(passes=10_000))
    (tmp_path / "order.json").write_bytes(msgspec.json.encode(order))
    command = [sys.executable, "-c", PARENT, str(tmp_path / "order.json"), *["late"] * late]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"told\n"
        (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        parent.kill()
    with contextlib.suppress(FileNotFoundError):
        while Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
            time.sleep(0.05)
    assert not work.exists()
