"""Records learned without a GPU: certified coverage, disagreement on published test splits, cost.

    python benchmarks/structured.py [--data NAME ...] [--most N] [--loss fields] [--encoder FOLDER]

With ``--encoder`` records are learned by the rung ``encoder`` alone, which tunes that encoder on
them; the time to learn is that of all processes.

Each data set's human annotation is written as a JSON object, which stands for a teacher's answer:
a perfect teacher, which no real one is. What is not the published test split is shuffled once with
a fixed seed; its latest quarter calibrates, the rest is learned from (``--most`` of it). A record
agrees if all of it does, as canonical JSON, lists of ``maintie`` as sets. The oracle is the most
that the same confidences could answer of the test split with its disagreement at most epsilon, were
its answers known.

With ``--loss fields`` the loss of a record is the share of its fields that are wrong: its intent
and each slot. Disagreement is then the mean of that, tested by betting; so is its interval.

``banking77`` is a closed set: the same labels as a JSON object and bare must be learned alike.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverage import CALIBRATION_SHARE, DELTA, SEED, Judged, cpu_seconds, oracle, report_gate
from openwheel.errors import ModelError
from openwheel.gate import spent
from openwheel.loop.turn.bursts import bursts
from openwheel.students import Fitted, rungs, save_student, train
from openwheel.students.encoder import SentenceEncoder, TextEncoder
from openwheel.students.rung import Lesson
from openwheel.students.student import NotLearnedError
from openwheel.students.tune.order import Tune
from openwheel.tasks import canonical_answer
from openwheel.tasks.compare import EXACT, Comparison, FieldSettings, Given, make_comparison
from openwheel.tasks.compare import Pair as Compare
from openwheel.tasks.compare.field_rules import Loss
from openwheel.tasks.forms import infer_form
from openwheel.wire import Answer
from shared import about, rows

EPSILONS = (0.05, 0.02)
ASKED = 300
"""Test inputs that are answered one by one, for the time that an answer takes."""


class Pair(NamedTuple):
    """An input, and the teacher's answer as it was written."""

    text: str
    answer: str


def _record(row: dict[str, Any]) -> str:
    kept = {"intent": row["intent"]} if row.get("intent") else {}
    return json.dumps({**kept, "slots": row["slots"]})


def _of(name: str, test: str, write: Callable[[dict[str, Any]], str]) -> tuple[list[Pair], ...]:
    found = list(rows(name))
    rest = [Pair(row["text"], write(row)) for row in found if row["split"] != test]
    return rest, [Pair(row["text"], write(row)) for row in found if row["split"] == test]


def _maintie() -> tuple[list[Pair], ...]:
    found = [Pair(row["text"], _record(row)) for row in rows("maintie_gold")]
    order = np.random.default_rng(SEED + 1).permutation(len(found))
    cut = len(found) // 5
    return [found[i] for i in order[cut:]], [found[i] for i in order[:cut]]


SETS: dict[str, Callable[[], tuple[list[Pair], ...]]] = {
    "snips": lambda: _of("snips", "test", _record),
    "slurp": lambda: _of("slurp_dev_test", "test", _record),
    "wnut17": lambda: _of("wnut17_ner", "test", _record),
    "maintie": _maintie,
    "banking77-json": lambda: _of(
        "banking77", "test", lambda row: json.dumps({"topic": row["label"]})
    ),
    "banking77-bare": lambda: _of("banking77", "test", lambda row: str(row["label"])),
}


UNORDERED = {"maintie": ("set",)}
"""Folds of data whose lists are in the order of annotation, which nothing tells."""


def canonical(text: str, form: str, folds: tuple[str, ...] = ()) -> str:
    return canonical_answer(Answer(text), form, folds)


def ask(fitted: Fitted, pairs: list[Pair], comparison: Comparison) -> Judged:
    """Return a student's confidences on some pairs, and how far it agrees."""
    texts, confidence = fitted.student.answer([(pair.text,) for pair in pairs])
    losses = comparison.losses(
        [
            Compare("", Answer(pair.answer), Answer(text))
            for text, pair in zip(texts, pairs, strict=True)
        ]
    )
    return Judged(confidence, np.where([bool(text) for text in texts], 1.0 - np.array(losses), 0.0))


def run(name: str, most: int, loss: Loss, encoder: TextEncoder | None) -> None:
    rest, test = SETS[name]()
    order = np.random.default_rng(SEED).permutation(len(rest))
    shuffled = [rest[i] for i in order]
    cut = len(shuffled) - int(CALIBRATION_SHARE * len(shuffled))
    training, calibration = shuffled[:cut], shuffled[cut:]
    if most:
        training = training[-most:]
    form = infer_form([Answer(pair.answer) for pair in training]).form
    folds = UNORDERED.get(name, ())
    answers = [canonical(pair.answer, form, folds) for pair in training]
    inputs = [(pair.text,) for pair in training]
    by_field = FieldSettings(loss if form == "record" else "record")
    comparison = make_comparison(EXACT, Given(form, folds, by_field=by_field))

    def losses_of(rows: Sequence[int], texts: Sequence[str]) -> Sequence[float]:
        teacher = [Answer(training[row].answer) for row in rows]
        return comparison.losses(
            [Compare("", one, Answer(text)) for one, text in zip(teacher, texts, strict=True)]
        )

    started = cpu_seconds()
    try:
        if form == "record":
            surfaces = dict(zip(answers, (pair.answer for pair in training), strict=True))
            lesson = Lesson(
                inputs=inputs,
                answers=answers,
                variables=(0,),
                form=form,
                folds=folds,
                surfaces=surfaces,
                losses_of=losses_of if comparison.bounded else None,
                by_field=by_field,
                encoder=encoder,
                tune=Tune(),
            )
            fitted = rungs()["linear" if encoder is None else "encoder"].train(lesson)
        else:
            fitted = train("linear", inputs, answers, variables=(0,))
    except (NotLearnedError, ModelError) as error:
        print(f"\n{name}: refused, {error}")
        return
    seconds = cpu_seconds() - started
    evidence, judged = (ask(fitted, part, comparison) for part in (calibration, test))
    began = time.process_time()
    for pair in test[:ASKED]:
        fitted.student.answer_one((pair.text,))
    each = (time.process_time() - began) / len(test[:ASKED]) * 1e3
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "student"
        save_student(fitted.student, folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"\n{name}, {form}: {len(training):,} to learn from, {len(calibration):,} to calibrate, "
        f"{len(test):,} to test; right on test {(judged.agrees == 1).mean():.3f}, "
        f"mean loss {judged.losses.mean():.3f}; {seconds:.0f} s of CPU "
        f"to learn, {each:.2f} ms of CPU an answer, {size / 1e6:.1f} MB, "
        f"rung {fitted.student.rung}"
    )
    most_of_own = " / ".join(
        f"{oracle(fitted.confidence, fitted.agrees, epsilon):.3f}" for epsilon in EPSILONS
    )
    print(f"  out of fold on what it learned from: most that could be answered {most_of_own}")
    clusters = bursts([(pair.text,) for pair in calibration], (0,))
    bounded = comparison.bounded
    report_gate(fitted, evidence, clusters, judged, EPSILONS, bounded=bounded)
    if form == "record":
        print("  without the floor of an answer's own chance to disagree:")
        report_gate(fitted, evidence, clusters, judged, EPSILONS, floor=0.0, bounded=bounded)
    if fitted.blame:
        print(f"  {fitted.blame}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", nargs="*", default=list(SETS), choices=list(SETS))
    options.add_argument("--encoder", default="", help="a sentence encoder: hub id or folder")
    options.add_argument("--most", type=int, default=0, help="records to learn from")
    options.add_argument("--loss", default="record", choices=("record", "fields"))
    chosen = options.parse_args()
    print(about("benchmarks/structured.py"))
    print(f"delta {DELTA:.0%}, first attempt: {spent(DELTA, 1):.2%} spent; seed {SEED}")
    encoder = SentenceEncoder(chosen.encoder) if chosen.encoder else None
    for name in chosen.data:
        run(name, chosen.most, chosen.loss, encoder)


if __name__ == "__main__":
    main()
