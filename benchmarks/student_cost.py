"""What a linear student costs: CPU to answer one text, and to train on 10,000.

Banking77 of ``../shared/data`` (or ``--data``), 77 answers. Beside the answer stands a floor:
scikit-learn's ``TfidfVectorizer`` turning the same text into features, which is less than an
answer. Both are timed text by text in turn, so that a busy machine slows both.

Run: ``python benchmarks/student_cost.py [--texts 2000]``
"""

import argparse
import datetime
import gzip
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from openwheel.students import train

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def cpu(act: Callable[..., object], *arguments: object) -> float:
    """Return the CPU seconds of this process, all threads, that a call takes."""
    start = time.process_time()
    act(*arguments)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--texts", type=int, default=2_000, help="how many answers to time")
    options = parser.parse_args()
    with gzip.open(options.data / "banking77.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    training = [row for row in rows if row["split"] == "train"]
    texts = [row["text"] for row in rows if row["split"] == "test"][: options.texts]
    inputs = [(row["text"],) for row in training]
    answers = [row["label"] for row in training]

    print(f"{datetime.date.today()}, {platform.machine()}, Python {platform.python_version()}")
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    floor_fit = cpu(
        lambda: LinearSVC().fit(vectorizer.fit_transform([i[0] for i in inputs]), answers)
    )
    start = time.process_time()
    student = train("linear", inputs, answers, variables=(0,)).student
    training_cpu = time.process_time() - start
    print(
        f"train {len(inputs):,} rows: {training_cpu:.1f} s of CPU for six fits; scikit-learn's "
        f"characters and LinearSVC once: {floor_fit:.1f} s, ratio {training_cpu / floor_fit:.1f}"
    )

    timed = np.zeros((len(texts), 2))
    for text in texts[:50]:  # caches, and pages of the weights
        student.answer_one((text,))
    for i, text in enumerate(texts):
        timed[i] = cpu(student.answer_one, (text,)), cpu(vectorizer.transform, [text])
    answer, floor = np.median(timed, axis=0) * 1e6
    slow = np.quantile(timed[:, 0], 0.99) * 1e6
    print(
        f"answer one text: median {answer:.0f} us of CPU, 99th percentile {slow:.0f} us; "
        f"scikit-learn's features alone: median {floor:.0f} us; ratio {answer / floor:.2f}"
    )


if __name__ == "__main__":
    main()
