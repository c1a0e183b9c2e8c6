"""Openwheel's side: students, plans, the gate and the monitors as the product has them."""

import functools
import time
from collections.abc import Sequence
from typing import NamedTuple
from unittest import mock

import numpy as np
import numpy.typing as npt

from openwheel.gate import Plan, judge, least_confidence, make_plan, predicted_coverage, spent
from openwheel.loop.data import CALIBRATION_SHARE
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.bursts import bursts
from openwheel.loop.turn.choose import CHEAPER
from openwheel.students import Fitted, fit, train
from openwheel.students.encoder import TextEncoder
from openwheel.students.model import ModelStudent
from openwheel.students.tune.tuning import open_encoder
from peers_bench.draws import Task
from peers_bench.results import OF_ALL, OF_ANSWERED, Result

FloatArray = npt.NDArray[np.float64]

DELTA = 0.05
LADDER = np.geomspace(1, 20, 60)
"""Multiples of a budget of all requests that are tried as a budget of answers."""


class LookUp:
    """An encoder that knows the vectors of a task's texts."""

    def __init__(self, task: Task) -> None:
        self.name, self.fingerprint = "vectors of the benchmark", "0" * 64
        self._vectors = dict(zip(task.texts, task.vectors, strict=True))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions)."""
        return np.stack([self._vectors[text] for text in texts])


class _Judged(NamedTuple):
    """A student, and what it says to the calibration exchanges and to the test rows."""

    fitted: Fitted
    calibration: tuple[FloatArray, FloatArray]
    test: tuple[FloatArray, FloatArray]
    clusters: npt.NDArray[np.int64]
    seconds: float


def cost(task: Task, encoder: str, answers: int) -> dict[str, list[float]]:
    """Return microseconds of CPU of each answer: given its vector, and from the text."""
    rows, test = task.split(0)
    inputs = [(task.texts[i],) for i in rows]
    labels = [task.labels[task.codes[i]] for i in rows]
    texts = [(task.texts[i],) for i in test[:answers]]
    ways: list[tuple[str, TextEncoder]] = [
        ("vector", LookUp(task)),
        ("text", open_encoder(encoder)),
    ]
    found: dict[str, list[float]] = {}
    with mock.patch.object(fit, "alone_is_better", return_value=True):
        student = train("encoder", inputs, labels, variables=(0,), encoder=ways[0][1]).student
    assert isinstance(student, ModelStudent)
    for way, used in ways:
        student.encoder = used  # vectors in 8 bits are nearly the same, and cost is what is asked
        for text in texts[:20]:
            student.answer_one(text)
        found[way] = []
        for text in texts:
            began = time.process_time_ns()
            student.answer_one(text)
            found[way].append((time.process_time_ns() - began) / 1e3)
    return found


def coverage(task: Task, repeat: int, budgets: Sequence[float]) -> list[Result]:
    """Return what is answered: with the vectors alone, and by the ladder of rungs."""
    rows, test = task.split(repeat)
    cut = len(rows) - int(CALIBRATION_SHARE * len(rows))
    of_rung = functools.partial(_trained, task, rows[:cut], rows[cut:], test)
    with mock.patch.object(fit, "alone_is_better", return_value=True):
        alone = of_rung("encoder")
    linear, encoder = of_rung("linear"), of_rung("encoder")
    found = []
    for budget in budgets:
        for stated in (OF_ANSWERED, OF_ALL):
            for name, students in (
                ("Openwheel, vectors alone", [alone]),
                ("Openwheel", [linear, encoder]),
            ):
                found.append(_certified(name, stated, students, budget))
    return found


def _trained(
    task: Task,
    training: npt.NDArray[np.int64],
    calibration: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
    rung: str,
) -> _Judged:
    started = time.process_time()
    inputs = [(task.texts[i],) for i in training]
    answers = [task.labels[task.codes[i]] for i in training]
    fitted = train(rung, inputs, answers, variables=(0,), encoder=LookUp(task))
    seconds = time.process_time() - started

    def ask(rows: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        texts, confidence = fitted.student.answer([(task.texts[i],) for i in rows])
        wrong = [
            text != task.labels[code] for text, code in zip(texts, task.codes[rows], strict=True)
        ]
        return confidence, np.array(wrong, np.float64)

    clusters = bursts([(task.texts[i],) for i in calibration], (0,))
    return _Judged(fitted, ask(calibration), ask(test), clusters, seconds)


def _certified(name: str, stated: str, students: Sequence[_Judged], budget: float) -> Result:
    """Choose the rung by training alone, as the product does, and let the gate judge it."""
    best: tuple[float, _Judged, Plan, float] | None = None
    for student in students:
        epsilon, plan, predicted = _planned(student, stated, budget)
        if best is None or predicted > best[0] + CHEAPER:
            best = predicted, student, plan, epsilon
    assert best is not None
    _, student, plan, epsilon = best
    found = judge(*student.calibration, student.clusters, plan, epsilon=epsilon, delta=_level())
    confidence, wrong = student.test
    threshold = np.inf if found.chosen is None else found.tests[found.chosen].threshold
    answered = confidence >= threshold
    return Result(
        side=name,
        stated=stated,
        budget=budget,
        answered=int(answered.sum()),
        wrong=int((answered & (wrong > 0)).sum()),
        test=len(confidence),
        seconds=sum(each.seconds for each in students),
    )


def _level() -> float:
    return spent(DELTA, 1)


def _planned(student: _Judged, stated: str, budget: float) -> tuple[float, Plan, float]:
    """Return the budget of answers, the plan for it, and the coverage that training predicts.

    A budget of all requests is the budget of answers with the most coverage of those that training,
    which has seen no calibration label, predicts to keep it.
    """
    multiples = (1.0,) if stated == OF_ANSWERED else LADDER
    best = None
    for epsilon in [budget * multiple for multiple in multiples]:
        if epsilon >= 0.5:
            break
        fitted, votes = student.fitted, len(set(student.clusters.tolist()))
        losses = (~fitted.agrees).astype(np.float64)
        worst = LoopSettings(epsilon=epsilon).worst("")
        plan = make_plan(
            fitted.confidence,
            losses,
            epsilon=epsilon,
            delta=_level(),
            calibration=votes,
            floor=least_confidence(fitted.confidence, losses, worst),
        )
        predicted = predicted_coverage(plan, epsilon=epsilon, delta=_level(), calibration=votes)
        if stated == OF_ALL and epsilon * predicted > budget:
            continue
        if best is None or predicted > best[2]:
            best = epsilon, plan, predicted
    assert best is not None
    return best
