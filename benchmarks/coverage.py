"""Certified coverage on real data: how much of a test set students answer, and how wrongly.

Each data set is shuffled once with a fixed seed (several are sorted by label) and split as the
product splits a log: the latest quarter of what is not the test set calibrates. Published test
splits are used where there are any. The oracle is the most that the same confidences could answer
on the test set with its disagreement at most epsilon, were the test answers known.

    python benchmarks/coverage.py [--encoder FOLDER] [--tune auto] [--data NAME ...]

The encoder is served in ONNX, as students have it with them. With ``--tune`` it is also trained on
each task, ``always`` or, as the product does, only where that pays on training inputs (``auto``).

A human label used as teacher is a perfect teacher, which no real one is; ``banking77-gpt4`` has
the answers of a real one.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.gate import (
    Judgement,
    clopper_pearson,
    judge,
    least_confidence,
    make_plan,
    mean_interval,
    spent,
)
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.bursts import bursts
from openwheel.loop.turn.choose import loss_of
from openwheel.students import Fitted, train
from openwheel.students.encoder import TextEncoder
from openwheel.students.model import ModelStudent
from openwheel.students.tune.order import Tune
from openwheel.students.tune.tuning import open_encoder
from shared import about, rows

SEED = 0
DELTA = 0.05
EPSILONS = (0.05, 0.02, 0.01)
CALIBRATION_SHARE = 0.25

Pair = tuple[str, str]


class Split(msgspec.Struct):
    """One data set, shuffled and split."""

    name: str
    teacher: str
    training: list[Pair]
    calibration: list[Pair]
    test: list[Pair]


def _split(name: str, teacher: str, rest: list[Pair], test: list[Pair]) -> Split:
    order = np.random.default_rng(SEED).permutation(len(rest))
    shuffled = [rest[i] for i in order]
    cut = len(shuffled) - int(CALIBRATION_SHARE * len(shuffled))
    return Split(name, teacher, shuffled[:cut], shuffled[cut:], test)


def _held_out(name: str, teacher: str, pairs: list[Pair], share: float = 0.2) -> Split:
    """Split a data set that has no published test split."""
    order = np.random.default_rng(SEED + 1).permutation(len(pairs))
    cut = int(share * len(pairs))
    return _split(name, teacher, [pairs[i] for i in order[cut:]], [pairs[i] for i in order[:cut]])


def banking77() -> Split:
    found = list(rows("banking77"))
    rest = [(r["text"], r["label"]) for r in found if r["split"] == "train"]
    test = [(r["text"], r["label"]) for r in found if r["split"] == "test"]
    return _split("banking77", "gold", rest, test)


def banking77_gpt4() -> Split:
    found = [r for r in rows("ocats_banking77_gpt") if r.get("gpt4")]
    return _held_out("banking77-gpt4", "GPT-4", [(r["text"], r["gpt4"]) for r in found])


def sms_spam() -> Split:
    return _held_out("sms_spam", "gold", [(r["text"], r["label"]) for r in rows("sms_spam")])


def snips() -> Split:
    found = list(rows("snips"))
    rest = [(r["text"], r["intent"]) for r in found if r["split"] != "test"]
    test = [(r["text"], r["intent"]) for r in found if r["split"] == "test"]
    return _split("snips", "gold", rest, test)


def slurp() -> Split:
    found = [(r["text"], f"{r['scenario']}_{r['action']}") for r in rows("slurp_dev_test")]
    return _held_out("slurp", "gold", found)


SETS: dict[str, Callable[[], Split]] = {
    "banking77": banking77,
    "banking77-gpt4": banking77_gpt4,
    "sms_spam": sms_spam,
    "snips": snips,
    "slurp": slurp,
}


def oracle(
    confidence: npt.NDArray[np.float64],
    agrees: npt.NDArray[np.bool_] | npt.NDArray[np.float64],
    limit: float,
) -> float:
    """Return the largest coverage whose disagreement is at most ``limit``."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(1.0 - agrees[order]) / np.arange(1, len(order) + 1)
    # Equal confidences are answered together.
    last = np.append(np.diff(confidence[order]) < 0, True) & (confidence[order] > 0)
    good = np.flatnonzero((wrong <= limit) & last)
    return float((good[-1] + 1) / len(order)) if len(good) else 0.0


class Judged(NamedTuple):
    """Confidences on some pairs, and whether the student agrees, or how far, from 0 to 1."""

    confidence: npt.NDArray[np.float64]
    agrees: npt.NDArray[Any]

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Return how far its answers are from the teacher's."""
        return 1.0 - self.agrees


def run(
    split: Split, rung: str, encoder: TextEncoder | None = None, tune: Tune | None = None
) -> None:
    started = cpu_seconds()
    inputs = [(text,) for text, _ in split.training]
    answers = [answer for _, answer in split.training]
    fitted = train(rung, inputs, answers, variables=(0,), encoder=encoder, tune=tune)
    seconds = cpu_seconds() - started
    if tune is not None and isinstance(fitted.student, ModelStudent):
        rung += " as it was" if fitted.student.encoder is encoder else " trained on the task"
    evidence = split.calibration
    confidence, agrees = ask(fitted, evidence)
    clusters = bursts([(text,) for text, _ in evidence], (0,))
    test_confidence, test_agrees = ask(fitted, split.test)
    print(
        f"\n{split.name}, {rung}, teacher {split.teacher}: {len(split.training):,} to train, "
        f"{len(evidence):,} to calibrate, {len(split.test):,} to test; "
        f"test agreement {test_agrees.mean():.3f}; {seconds:.1f} s of CPU to train"
    )
    report_gate(fitted, Judged(confidence, agrees), clusters, Judged(test_confidence, test_agrees))


def judged_at(
    fitted: Fitted,
    evidence: Judged,
    clusters: npt.NDArray[np.int64],
    epsilon: float,
    *,
    floor: float | None = None,
    bounded: bool = False,
) -> Judgement:
    """Return the gate's judgement of a student at an epsilon, as in a first attempt."""
    usual = LoopSettings().floor if floor is None else floor
    losses = loss_of(fitted)
    worst = LoopSettings(epsilon=epsilon, floor=usual).worst("")
    plan = make_plan(
        fitted.confidence,
        losses,
        epsilon=epsilon,
        delta=spent(DELTA, 1),
        calibration=len(set(clusters.tolist())),
        floor=least_confidence(fitted.confidence, losses, worst),
        bounded=bounded,
    )
    return judge(
        evidence.confidence,
        evidence.losses,
        clusters,
        plan,
        epsilon=epsilon,
        delta=spent(DELTA, 1),
        method="betting" if bounded else "binomial",
    )


def report_gate(
    fitted: Fitted,
    evidence: Judged,
    clusters: npt.NDArray[np.int64],
    test: Judged,
    epsilons: Sequence[float] = EPSILONS,
    *,
    floor: float | None = None,
    bounded: bool = False,
) -> None:
    """Print what the gate certifies at each epsilon, and what that is worth on the test set.

    ``bounded``: whether losses may lie between 0 and 1, which are tested by betting.
    """
    for epsilon in epsilons:
        found = judged_at(fitted, evidence, clusters, epsilon, floor=floor, bounded=bounded)
        best = oracle(test.confidence, test.agrees, epsilon)
        if found.chosen is None:
            print(f"  epsilon {epsilon:.0%}: refused; oracle {best:.3f}")
            continue
        passed = found.tests[found.chosen]
        answered = test.confidence >= passed.threshold
        lost, total = test.losses[answered], int(answered.sum())
        wrong = lost.sum()
        low, high = mean_interval(lost) if bounded else clopper_pearson(int(wrong), total)
        print(
            f"  epsilon {epsilon:.0%}: coverage {answered.mean():.3f} (oracle {best:.3f}, ratio "
            f"{answered.mean() / best if best else float('nan'):.3f}), disagreement "
            f"{wrong:.6g}/{total} = {wrong / total:.2%} ({low:.2%} to {high:.2%}), "
            f"calibration {passed.loss:.6g}/{passed.answered} = "
            f"{passed.loss / passed.answered:.2%}, bound {found.bound:.2%}"
        )


def cpu_seconds() -> float:
    """Return the processor time of this process and of those it has waited for."""
    return sum(os.times()[:4])


def ask(
    fitted: Fitted, pairs: Sequence[Pair]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return a student's confidences on some pairs, and whether it agrees."""
    found = fitted.student.answer([(text,) for text, _ in pairs])
    agrees = np.array(found.texts) == np.array([answer for _, answer in pairs])
    return found.confidence, agrees


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--encoder", default="", help="a sentence encoder: hub id or folder")
    options.add_argument("--tune", default="", choices=("auto", "always"))
    options.add_argument("--data", nargs="*", default=list(SETS), choices=list(SETS))
    chosen = options.parse_args()
    print(about("benchmarks/coverage.py"))
    print(f"delta {DELTA:.0%}, first attempt: {spent(DELTA, 1):.2%} spent; seed {SEED}")
    tune = Tune(always=chosen.tune == "always") if chosen.tune else None
    encoder = open_encoder(chosen.encoder) if chosen.encoder else None
    for name in chosen.data:
        split = SETS[name]()
        run(split, "linear")
        if encoder is not None:
            run(split, "encoder", encoder)
        if encoder is not None and tune is not None:
            run(split, "encoder", encoder, tune)


if __name__ == "__main__":
    main()
