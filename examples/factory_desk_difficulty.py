"""Measure how hard the route task of the sample traffic is; needs scikit-learn.

    python examples/factory_desk_difficulty.py          # the bundled seed
    python examples/factory_desk_difficulty.py 1 2 3    # logs of other seeds

Trains a linear classifier on the first half of the route tickets and tests it on the next
quarter, without tickets seen before and without the new kind: against the teacher's answer.
"""

import sys
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

import factory_desk

Row = tuple[str, str, factory_desk.Truth]


def route_rows(count: int, seed: int) -> list[Row]:
    """Return (ticket text, teacher's answer, truth) of each route exchange, in order."""
    rows: list[Row] = []
    for row, truth in factory_desk.generate(count, seed):
        if truth.task == "route":
            user: str = row["request"]["messages"][1]["content"]
            text = user.split("\n", 1)[1].removesuffix("\nQueue:")
            rows.append((text, row["response"]["choices"][0]["message"]["content"], truth))
    return rows


def measure(count: int, seed: int) -> dict[str, Any]:
    """Return the sizes, the accuracy and the oracle coverage at 5% disagreement."""
    rows = route_rows(count, seed)
    train = rows[: len(rows) // 2]
    seen = {text for text, _, _ in train}
    test = [
        row
        for row in rows[len(rows) // 2 : len(rows) * 3 // 4]
        if row[0] not in seen and row[2].kind != "repeat" and row[2].right != factory_desk.NEW_QUEUE
    ]
    model = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        ),
        LinearSVC(),
    )
    model.fit([text for text, _, _ in train], [answer for _, answer, _ in train])
    texts = [text for text, _, _ in test]
    right = model.predict(texts) == np.array([answer for _, answer, _ in test])
    top = np.sort(model.decision_function(texts), axis=1)
    order = np.argsort(top[:, -2] - top[:, -1])
    wrong_so_far = np.cumsum(~right[order]) / np.arange(1, len(right) + 1)
    by_kind = {
        kind: (round(float(np.mean(hits)), 3), len(hits))
        for kind in ("plain", "two", "alarm")
        if (hits := [hit for hit, row in zip(right, test, strict=True) if row[2].kind == kind])
    }
    covered = np.flatnonzero(wrong_so_far <= 0.05)
    coverage = (int(covered[-1]) + 1) / len(test) if len(covered) else 0.0
    return {
        "train": len(train),
        "test": len(test),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_by_kind": by_kind,
        "coverage_at_5_percent": round(coverage, 3),
    }


if __name__ == "__main__":
    for chosen in [int(text) for text in sys.argv[1:]] or [factory_desk.SEED]:
        print(f"seed {chosen}: {measure(factory_desk.EXCHANGES, chosen)}")
