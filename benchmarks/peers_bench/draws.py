"""The tasks that all sides learn: texts, a teacher's labels, vectors, and repeated splits.

They lie in a folder, a file of each kind a task, since the peers read them in another process.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.students.encoder import SentenceEncoder
from shared import rows

IntArray = npt.NDArray[np.int64]
Pair = tuple[str, str]

TEST_SHARE = 0.2


class Task(NamedTuple):
    """One task, and its splits.

    Attributes:
        name: As the tables have it.
        texts: Shape (n,).
        labels: The names of the labels, ordered.
        codes: The teacher's label of each text, shape (n,).
        vectors: Unit vectors of the texts, shape (n, dimensions), float32.
        orders: An order of the rows for each repeat, shape (repeats, n): the first `TEST_SHARE` of
            them test, the others come as traffic in this order.
    """

    name: str
    texts: list[str]
    labels: list[str]
    codes: IntArray
    vectors: npt.NDArray[np.float32]
    orders: IntArray

    def split(self, repeat: int) -> tuple[IntArray, IntArray]:
        """Return the rows that come as traffic, in order, and those that test."""
        cut = int(TEST_SHARE * len(self.texts))
        return self.orders[repeat][cut:], self.orders[repeat][:cut]


def _labelled(name: str, key: str) -> list[Pair]:
    return [(row["text"], row[key]) for row in rows(name) if row.get(key)]


TASKS: dict[str, tuple[str, Callable[[], list[Pair]]]] = {
    "banking77": ("Banking77, human labels", lambda: _labelled("banking77", "label")),
    "banking77-gpt4": ("Banking77, GPT-4", lambda: _labelled("ocats_banking77_gpt", "gpt4")),
    "snips": ("SNIPS intents, human labels", lambda: _labelled("snips", "intent")),
    "sms_spam": ("SMS spam, human labels", lambda: _labelled("sms_spam", "label")),
}


def write(folder: Path, names: list[str], encoder: SentenceEncoder, repeats: int) -> None:
    """Write the tasks into a folder; vectors that are there already are kept."""
    for name in names:
        title, pairs_of = TASKS[name]
        pairs = pairs_of()
        texts, labels = [text for text, _ in pairs], sorted({label for _, label in pairs})
        vectors = folder / f"{name}.vectors.npy"
        if not vectors.exists():
            np.save(vectors, encoder.embed(texts))
        place = {label: code for code, label in enumerate(labels)}
        orders = [
            np.random.default_rng([7, seed]).permutation(len(texts)) for seed in range(repeats)
        ]
        np.savez(
            folder / f"{name}.npz",
            codes=np.array([place[label] for _, label in pairs], np.int64),
            orders=np.array(orders),
        )
        written = {"title": title, "texts": texts, "labels": labels}
        (folder / f"{name}.json").write_text(json.dumps(written))


def read(folder: Path, name: str) -> Task:
    """Read a task."""
    written = json.loads((folder / f"{name}.json").read_text())
    arrays = np.load(folder / f"{name}.npz")
    vectors = np.load(folder / f"{name}.vectors.npy")
    return Task(
        written["title"],
        written["texts"],
        written["labels"],
        arrays["codes"],
        vectors,
        arrays["orders"],
    )
