"""Tiny models from scratch through the whole rung: train, decode within the form, confidence, gate.

A random model of a few million weights is first trained whole on the training exchanges as plain
text, in place of the pretraining that a real base has had; then the rung does what it does on any
base. The gate judges it as it judges every student, and the test split shows what that is worth.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from coverage import (
    CALIBRATION_SHARE,
    SETS,
    Judged,
    Pair,
    Split,
    ask,
    cpu_seconds,
    report_gate,
)
from lm_bench.made import make_base, pretrain
from openwheel.settings import LmSection
from openwheel.tasks import Template
from openwheel.tasks.template import Part

EPSILONS = (0.05, 0.02)
TASK = Template((Part(("Name the class of the text.",)), Part(), Part(("", "")), Part()))


def measure(names: list[str], shape: str, most: int) -> None:
    """Print agreement and certified coverage of each data set's student."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in names:
        split = SETS[name]()
        share = max(1, int(most * CALIBRATION_SHARE))
        cut = Split(
            split.name, split.teacher, split.training[:most], split.calibration[:share], split.test
        )
        with tempfile.TemporaryDirectory() as folder:
            _run(cut, shape, Path(folder))


def _run(split: Split, shape: str, folder: Path) -> None:
    from openwheel.engine.base import load_base
    from openwheel.engine.engine import Engine
    from openwheel.students import Served
    from openwheel.students.lm.fit import fit_lm

    base = folder / "base"
    make_base(base, [f"{t} {a}" for t, a in split.training], shape=shape, vocabulary=4096)
    clock = time.process_time()
    loss = pretrain(base, [_chat(pair) for pair in split.training], epochs=4)
    seconds = time.process_time() - clock
    print(f"\n{split.name}, {shape} model: from scratch {seconds:.0f} s of CPU, {loss:.2f} nats")
    with Engine(load_base(str(base))) as engine:

        def serve(adapter: Path) -> Served:
            engine.load_adapter("student", adapter)
            return Served(engine, "student")

        before = cpu_seconds()
        fitted = fit_lm(
            [(text,) for text, _ in split.training],
            [answer for _, answer in split.training],
            template=TASK,
            form="label",
            settings=LmSection(base=str(base), epochs=4, learning_rate=2e-3, threads=1),
            variables=(0,),
            surfaces={},
            work=folder / "work",
            serve=serve,
        )
        seconds = cpu_seconds() - before
        started = time.process_time()
        test_confidence, test_agrees = ask(fitted, split.test)
        each = (time.process_time() - started) / len(split.test)
        seen = {text for text, _ in split.training}
        evidence = [pair for pair in split.calibration if pair[0] not in seen]
        confidence, agrees = ask(fitted, evidence)
    clusters = np.arange(len(evidence))
    print(
        f"  {len(split.training):,} to train, {len(evidence):,} to calibrate, {len(split.test):,} "
        f"to test; training and held-out answers {seconds:.0f} s of CPU, an answer "
        f"{each * 1e3:.1f} ms; agreement held out {fitted.agrees.mean():.3f}, "
        f"on the test split {test_agrees.mean():.3f}"
    )
    report_gate(
        fitted,
        Judged(confidence, agrees),
        clusters,
        Judged(test_confidence, test_agrees),
        EPSILONS,
    )


def _chat(pair: Pair) -> str:
    text, answer = pair
    system = TASK.parts[0].literals[0]
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"
        f"<|im_start|>assistant\n{answer}<|im_end|>\n"
    )
