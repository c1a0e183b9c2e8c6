"""Tiny models from scratch through the whole rung: train, serve, decode within the form, certify.

A random model of a few million weights is first trained whole on the training exchanges as plain
text, in place of the pretraining that a real base has had; then the rung does what it does on any
base: an adapter is trained, llama.cpp serves it, the gate judges it as it judges every student. The
test split shows what that is worth.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt

from coverage import CALIBRATION_SHARE, SETS, Judged, Pair, Split, report_gate
from lm_bench.made import make_base, pretrain
from openwheel.inference.local import make_front
from openwheel.inference.remote import RemoteWriter
from openwheel.inference.server import serving
from openwheel.settings import EngineSection, LmSection, Precision
from openwheel.students import Fitted, Served
from openwheel.students.lm.fit import fit_lm
from openwheel.tasks import Form, Template, canonical_answer
from openwheel.tasks.template import Part
from openwheel.wire import Answer
from shared import rows

EPSILONS = (0.05, 0.02)
RECORDS = "snips-records"
"""SNIPS with a record as its answer: the intent, and which slots are named, in their order."""

TASK = Template((Part(("Name the class of the text.",)), Part(), Part(("", "")), Part()))


class Data(NamedTuple):
    """A data set, the form of its answers, and how each is written."""

    split: Split
    form: Form
    surfaces: Mapping[str, str]


def measure(names: list[str], shape: str, most: int, precision: str) -> None:
    """Print agreement and certified coverage of each data set's student."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in names:
        data = _records() if name == RECORDS else Data(SETS[name](), "label", {})
        split = data.split
        share = max(1, int(most * CALIBRATION_SHARE))
        cut = msgspec.structs.replace(
            split, training=split.training[:most], calibration=split.calibration[:share]
        )
        with tempfile.TemporaryDirectory() as folder:
            os.environ["OPENWHEEL_CACHE"] = folder
            _run(data._replace(split=cut), shape, Path(folder), precision)


def _records() -> Data:
    surfaces: dict[str, str] = {}

    def pair(row: Mapping[str, Any]) -> Pair:
        written = json.dumps({**dict.fromkeys(row["slots"], True), "intent": row["intent"]})
        canonical = canonical_answer(Answer(written), "record")
        surfaces.setdefault(canonical, written)
        return row["text"], canonical

    found = list(rows("snips"))
    rest = [pair(row) for row in found if row["split"] != "test"]
    test = [pair(row) for row in found if row["split"] == "test"]
    cut = int(len(rest) * (1 - CALIBRATION_SHARE))
    return Data(Split(RECORDS, "gold", rest[:cut], rest[cut:], test), "record", surfaces)


def _run(data: Data, shape: str, folder: Path, precision: str) -> None:
    split, base = data.split, folder / "base"
    make_base(base, [f"{t} {a}" for t, a in split.training], shape=shape, vocabulary=4096)
    loss = pretrain(base, [_chat(pair, data.surfaces) for pair in split.training], epochs=4)
    print(f"\n{split.name}, {shape} model from scratch, {loss:.2f} nats, served in {precision}")
    section = EngineSection(precision=cast(Precision, precision), threads=1)
    front = make_front(str(base), section, context=512)
    with serving(front) as url, contextlib.closing(RemoteWriter(url, timeout=600)) as writer:

        def serve(adapter: Path) -> Served:
            writer.load_adapter("student", adapter)
            return Served(writer, "student")

        fitted = fit_lm(
            [(text,) for text, _ in split.training],
            [answer for _, answer in split.training],
            template=TASK,
            form=data.form,
            settings=LmSection(base=str(base), epochs=4, learning_rate=2e-3, threads=1),
            variables=(0,),
            surfaces=data.surfaces,
            work=folder / "work",
            serve=serve,
        )
        llama = front.health()["process"]
        before = _cpu(llama)
        test = _ask(fitted, split.test, data.form)
        each = (_cpu(llama) - before) / len(split.test)
        seen = {text for text, _ in split.training}
        evidence = [pair for pair in split.calibration if pair[0] not in seen]
        calibration = _ask(fitted, evidence, data.form)
    print(
        f"  {len(split.training):,} to train, {len(evidence):,} to calibrate, {len(split.test):,} "
        f"to test; an answer {each * 1e3:.1f} ms of CPU; agreement held out "
        f"{fitted.agrees.mean():.3f}, on the test split {test.agrees.mean():.3f}"
    )
    report_gate(fitted, calibration, np.arange(len(evidence)), test, EPSILONS)


def _ask(fitted: Fitted, pairs: list[Pair], form: Form) -> Judged:
    """Return a student's confidences on some pairs, and whether it agrees."""
    written = fitted.student.answer([(text,) for text, _ in pairs])
    said = [canonical_answer(Answer(text), form) for text in written.texts]
    agrees: npt.NDArray[np.bool_] = np.array(
        [one == answer for one, (_, answer) in zip(said, pairs, strict=True)]
    )
    return Judged(written.confidence, agrees)


def _cpu(pid: int) -> float:
    """Return the processor time of this process and of another."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    other = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return sum(os.times()[:2]) + other


def _chat(pair: Pair, surfaces: Mapping[str, str]) -> str:
    text, answer = pair
    system = TASK.parts[0].literals[0]
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"
        f"<|im_start|>assistant\n{surfaces.get(answer, answer)}<|im_end|>\n"
    )
