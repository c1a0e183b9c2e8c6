"""Soft labels beside hard ones on the same traffic: coverage at 5, 2 and 1%.

No data set here has the probabilities of a real teacher, so two are made. Each is trained on the
human labels of half of the rows, which are used for nothing else, and then answers the other half
with its likeliest label and its probabilities:

* ``linear``: multinomial logistic regression on words and vectors. Students are of its kind, so it
  shows the most that soft labels can be worth.
* ``kernel``: the same on Nystroem features of an RBF kernel, which no student can be.

A fifth of the answered rows tests, and of the rest the latest quarter calibrates. Soft and hard are
trained on the same rows. Probabilities are judged on the test rows: the mean log-loss against the
teacher's distribution, and the expected calibration error of the likeliest answer (15 bins).

    python benchmarks/soft_labels.py --encoder FOLDER [--data banking77 snips] [--rungs linear]
"""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression

from coverage import CALIBRATION_SHARE, SEED, Judged, cpu_seconds, report_gate
from openwheel.loop.turn.bursts import bursts
from openwheel.students import LabelStudent, train
from openwheel.students.encoder import SentenceEncoder
from shared import about, rows

FloatArray = npt.NDArray[np.float64]

KEYS = {"banking77": "label", "snips": "intent", "sms_spam": "label"}
TEACHERS = ("linear", "kernel")
BINS = 15


class LookUp:
    """An encoder that knows the vectors of some texts."""

    def __init__(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        self.name, self.fingerprint = "vectors of the benchmark", "0" * 64
        self._vectors = dict(zip(texts, vectors, strict=True))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions)."""
        return np.stack([self._vectors[text] for text in texts])


class Answered(NamedTuple):
    """What a teacher says to texts: its likeliest label, and all probabilities (n, labels)."""

    texts: list[str]
    answers: list[str]
    chances: FloatArray

    def part(self, start: int, stop: int) -> "Answered":
        """Return some of them."""
        here = slice(start, stop)
        return Answered(self.texts[here], self.answers[here], self.chances[here])


def teach(
    kind: str, texts: list[str], labels: list[str], vectors: npt.NDArray[np.float32]
) -> tuple[Answered, list[str]]:
    """Train a teacher on the first half, and let it answer the rest; return its labels, too."""
    half = len(texts) // 2
    if kind == "linear":
        words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2)).fit(texts[:half])
        features: Any = scipy.sparse.hstack([words.transform(texts), 2.0 * vectors]).tocsr()
    else:
        kernel = Nystroem(gamma=2.0, n_components=600, random_state=SEED).fit(vectors[:half])
        features = 4.0 * kernel.transform(vectors)
    model = LogisticRegression(C=10.0, max_iter=300).fit(features[:half], labels[:half])
    chances = model.predict_proba(features[half:])
    names = [str(name) for name in model.classes_]
    answers = [names[i] for i in chances.argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(answers, labels[half:], strict=True)])
    print(
        f"teacher {kind}: trained on {half:,} rows, {right:.1%} of its {len(answers):,} answers "
        f"are the human label, mean probability of its answer {chances.max(axis=1).mean():.3f}"
    )
    return Answered(texts[half:], answers, chances), names


def run(said: Answered, names: list[str], encoder: LookUp, rung: str, *, soft: bool) -> None:
    """Train a student on hard or soft labels, and print what the gate makes of it."""
    total = len(said.texts)
    test = said.part(0, total // 5)
    cut = total - int(CALIBRATION_SHARE * (total - total // 5))
    training, calibration = said.part(total // 5, cut), said.part(cut, total)
    given = {
        row: {names[i]: float(chances[i]) for i in np.flatnonzero(chances >= 1e-3)}
        for row, chances in enumerate(training.chances)
    }
    began = cpu_seconds()
    fitted = train(
        rung,
        [(text,) for text in training.texts],
        training.answers,
        variables=(0,),
        encoder=encoder,
        probabilities=given if soft else {},
    )
    seconds = cpu_seconds() - began
    student = fitted.student
    assert isinstance(student, LabelStudent)

    def ask(part: Answered) -> Judged:
        texts, confidence = student.answer([(text,) for text in part.texts])
        return Judged(confidence, np.array(texts) == np.array(part.answers))

    judged = ask(test)
    own = student.probabilities([(text,) for text in test.texts])
    places = [names.index(name) for name in student.answers]
    wanted = test.chances[:, places]
    loss = -(wanted * np.log(own + 1e-12)).sum(axis=1) / wanted.sum(axis=1)
    right = np.array([student.answers[i] for i in own.argmax(axis=1)]) == np.array(test.answers)
    print(
        f"{rung}, {'soft' if soft else 'hard'} labels: {len(training.texts):,} to train, "
        f"{len(calibration.texts):,} to calibrate, {len(test.texts):,} to test; test agreement "
        f"{judged.agrees.mean():.4f}; log-loss {loss.mean():.4f}, calibration error "
        f"{calibration_error(own.max(axis=1), right):.4f}; {seconds:.0f} s of CPU to train"
    )
    clusters = bursts([(text,) for text in calibration.texts], (0,))
    report_gate(fitted, ask(calibration), clusters, judged)


def calibration_error(chances: FloatArray, right: npt.NDArray[np.bool_]) -> float:
    """Return the mean gap between a stated probability and how often it was right, by bins."""
    place = np.minimum((chances * BINS).astype(int), BINS - 1)
    return sum(
        float((place == i).mean() * abs(chances[place == i].mean() - right[place == i].mean()))
        for i in np.unique(place)
    )


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--encoder", required=True, help="a sentence encoder: hub id or folder")
    options.add_argument("--data", nargs="*", default=["banking77", "snips"], choices=list(KEYS))
    options.add_argument("--rungs", nargs="*", default=["linear", "encoder"])
    options.add_argument("--teachers", nargs="*", default=list(TEACHERS), choices=TEACHERS)
    options.add_argument("--most", type=int, default=0, help="rows of a data set; 0: all")
    asked = options.parse_args()
    print(about("benchmarks/soft_labels.py"))
    encoder = SentenceEncoder(asked.encoder)
    for name in asked.data:
        pairs = [(row["text"], row[KEYS[name]]) for row in rows(name)]
        order = np.random.default_rng(SEED).permutation(len(pairs))[: asked.most or None]
        texts, labels = [pairs[i][0] for i in order], [pairs[i][1] for i in order]
        vectors = encoder.embed(texts)
        for kind in asked.teachers:
            print(f"\n{name}, ", end="")
            said, names = teach(kind, texts, labels, vectors)
            for rung in asked.rungs:
                for soft in (False, True):
                    run(said, names, LookUp(texts, vectors), rung, soft=soft)


if __name__ == "__main__":
    main()
