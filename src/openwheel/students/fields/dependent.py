"""Labels that follow from a record's other fields: a priority from the minutes lost, and a rush.

A random forest reads the other fields, and which words and pairs of words the input has that say
more than these (Breiman, 2001, "Random forests"). In training it reads the teacher's other fields,
in use those that the student just told: where one of them is wrong, the record is wrong anyway.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.students.fields.features import phrase_hash
from openwheel.students.fields.form import ABSENT, ROW, Field, as_json
from openwheel.students.fields.heads import Question, columns_of
from openwheel.tasks.forms.record import Path

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MOST_QUESTIONS = 20
"""Labels for which it is tried: each costs as many forests as there are folds, and one."""

MOST_SURE = 0.99
"""A head that was right out of fold in so many records needs no more."""

TREES, LEAVES = 60, 400
MOST_ROWS = 6_000
"""Records that a forest is fitted on: more cost time and change little."""

MOST_NGRAMS, FEWEST_TEXTS = 100, 5
"""Words and pairs of words that are read, and texts that have each of them."""

GROUPS, FEWEST_GROUP = 8, 15
"""Groups of like records by their other fields, within which words are chosen."""

MOST_VALUES = 40
MISSING = -1e9
"""Stands for a number that a record does not have: below all."""

AT_ONCE = 200
"""Records that go through a forest at once: bounds memory."""

EVIDENT = 2.0
"""Standard errors by which a label must be told better so, out of fold."""


def ngrams_of(hashes: Sequence[int]) -> set[int]:
    """Return the words of a text and the pairs of neighbours, by the hashes of its words."""
    return set(hashes) | {phrase_hash(pair) for pair in itertools.pairwise(hashes)}


class Facts(NamedTuple):
    """What is read of records, in columns.

    Attributes:
        columns: Of each path its columns, and what each asks for: a value as JSON, None for a
            number, or `ABSENT` for whether there is any value.
        fields: Of each column the field's index.
        nothing: Of a record without any field, shape (columns,).
    """

    columns: Mapping[Path, Sequence[tuple[int, str | None]]]
    fields: IntArray
    nothing: FloatArray

    def of(self, found: Mapping[Path, Any]) -> FloatArray:
        """Return the facts of a record's leaves, shape (columns,)."""
        facts = self.nothing.copy()
        for path, value in found.items():
            columns = self.columns.get(path, ())
            text = as_json(value) if columns else ""
            for column, asked in columns:
                if asked is None:
                    facts[column] = value if _is_number(value) else MISSING
                elif asked == ABSENT:
                    facts[column] = value is not None and value != []
                else:
                    facts[column] = text == asked
        return facts

    def of_all(self, found: Sequence[Mapping[Path, Any]]) -> FloatArray:
        """Return the facts of records, shape (n, columns)."""
        return np.array([self.of(one) for one in found]).reshape(len(found), len(self.nothing))

    def put(self, facts: FloatArray, index: int, field: Field, answers: IntArray) -> None:
        """Set the facts of a label, which is the field of this index, to its answers."""
        own = np.flatnonzero(self.fields == index)
        table = self.of_all(
            [{field.path: msgspec.json.decode(v)} if v != ABSENT else {} for v in field.values]
        )
        facts[:, own] = table[answers][:, own]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def facts_of(fields: Sequence[Field]) -> Facts:
    """Return what is read of records with these fields."""
    columns: dict[Path, list[tuple[int, str | None]]] = {}
    of: list[int] = []
    nothing: list[float] = []

    def add(index: int, asked: str | None) -> None:
        columns.setdefault(fields[index].path, []).append((len(of), asked))
        of.append(index)
        nothing.append(MISSING if asked is None else 0.0)

    for index, field in enumerate(fields):
        if ROW in field.path:
            continue
        if field.kind == "span":
            add(index, ABSENT)
            if field.many == "no" and field.rendering.kind == "number":
                add(index, None)
        elif field.kind == "label":
            values = [value for value in field.values if value != ABSENT]
            for value in values[:MOST_VALUES]:
                add(index, value)
            if any(_is_number(msgspec.json.decode(value)) for value in values):
                add(index, None)
    return Facts(columns, np.array(of, np.int64), np.array(nothing))


class Dependent(NamedTuple):
    """A label's forest.

    Attributes:
        question: Index of the label among the questions of heads.
        ngrams: What is read of an input beside its record's other fields, shape (ngrams,).
        feature, threshold, left, right: Of each node of each tree the fact it splits by; a leaf has
            itself on both sides, shape (trees, nodes).
        shares: Of the answers at each node, shape (trees, nodes, answers).
    """

    question: int
    ngrams: npt.NDArray[np.uint64]
    feature: IntArray
    threshold: npt.NDArray[np.float32]
    left: IntArray
    right: IntArray
    shares: npt.NDArray[np.float16]

    def fits(self, columns: int, answers: int) -> bool:
        """Whether it reads records of so many columns, and tells so many answers."""
        shape, nodes = self.feature.shape, self.feature.shape[1]
        return (
            all(part.shape == shape for part in (self.threshold, self.left, self.right))
            and self.shares.shape == (*shape, answers)
            and 0 <= self.feature.min() <= self.feature.max() < columns + len(self.ngrams)
            and all(0 <= part.min() <= part.max() < nodes for part in (self.left, self.right))
        )

    def scores(self, facts: FloatArray, ngrams: Sequence[AbstractSet[int]]) -> FloatArray:
        """Return scores of the answers from -1 to 1, shape (n, answers).

        Args:
            facts: Of records, shape (n, columns).
            ngrams: Words and pairs of words of their texts.
        """
        read = _read(facts, self.ngrams.tolist(), ngrams)
        parts = [self._scores(read[i : i + AT_ONCE]) for i in range(0, len(read), AT_ONCE)]
        return np.concatenate([np.zeros((0, self.shares.shape[2])), *parts])

    def _scores(self, read: npt.NDArray[np.float32]) -> FloatArray:
        trees, rows = np.arange(len(self.feature)), np.arange(len(read))[:, None]
        at = np.zeros((len(read), len(trees)), np.int64)
        while True:
            less = read[rows, self.feature[trees, at]] <= self.threshold[trees, at]
            following = np.where(less, self.left[trees, at], self.right[trees, at])
            if np.array_equal(following, at):
                return np.asarray(2 * self.shares[trees, at].mean(1, dtype=np.float64) - 1)
            at = following


def _read(
    facts: FloatArray, keys: Sequence[int], ngrams: Sequence[AbstractSet[int]]
) -> npt.NDArray[np.float32]:
    """Return what a forest reads, in the 32 bits that training sees."""
    found = [[key in own for key in keys] for own in ngrams]
    present = np.array(found, np.float32).reshape(len(ngrams), len(keys))
    return np.concatenate((facts.astype(np.float32), present), axis=1)


class Taught(NamedTuple):
    """What the teacher's records say, and what was told of them out of fold.

    Attributes:
        fields: Of the records.
        labels: The questions, with the answer of each record, -1 where it is too rare.
        taught: The leaves of the teacher's records.
        told: The leaves of the student's out of fold.
        ngrams: Words and pairs of words of each text.
        scores: Of all answers of all questions, out of fold, shape (n, answers).
        folds: Of each record, shape (n,).
    """

    fields: Sequence[Field]
    labels: Sequence[tuple[Question, IntArray]]
    taught: Sequence[Mapping[Path, Any]]
    told: Sequence[Mapping[Path, Any]]
    ngrams: Sequence[AbstractSet[int]]
    scores: FloatArray
    folds: IntArray


def may_depend(fields: Sequence[Field], question: Question) -> bool:
    """Whether a question is one for a label, which other fields may tell."""
    return fields[question.field].kind == "label"


def learn_dependents(taught: Taught) -> tuple[list[Dependent], FloatArray]:
    """Learn which labels are told better by other fields, and how.

    Returns:
        Those, in the order in which they are told: each may look at those before; and the scores
        of all answers of all questions out of fold, shape (n, answers).
    """
    fields, facts = taught.fields, facts_of(taught.fields)
    real, told = facts.of_all(taught.taught), facts.of_all(taught.told)
    scores = taught.scores.copy()
    found: list[Dependent] = []
    places = columns_of([question for question, _ in taught.labels])
    right = [
        scores[:, place].argmax(1) == labels
        for place, (_, labels) in zip(places, taught.labels, strict=True)
    ]
    asked = [
        i
        for i, (question, labels) in enumerate(taught.labels)
        if may_depend(fields, question) and len(set(labels.tolist()) - {-1}) > 1
    ]
    # A label may follow from those that are told more surely.
    asked.sort(key=lambda i: -right[i].mean())
    later = {taught.labels[i][0].field for i in asked}
    for i in asked[:MOST_QUESTIONS]:
        question, labels = taught.labels[i]
        closed = np.isin(facts.fields, list(later))
        later.discard(question.field)
        if right[i].mean() >= MOST_SURE:
            continue
        own = np.where(closed, 0.0, real)
        here = scores[:, places[i]].copy()
        for fold in np.unique(taught.folds):
            testing = np.flatnonzero(taught.folds == fold)
            rows = np.flatnonzero((taught.folds != fold) & (labels >= 0))
            if len(rows) >= FEWEST_GROUP:
                forest = _fit(i, question.answers, own, taught.ngrams, labels, rows=rows)
                here[testing] = forest.scores(
                    told[testing], [taught.ngrams[k] for k in testing.tolist()]
                )
        if not evidently_better(right[i], here.argmax(1) == labels):
            continue
        rows = np.flatnonzero(labels >= 0)
        found.append(_fit(i, question.answers, own, taught.ngrams, labels, rows=rows))
        scores[:, places[i]] = here
        facts.put(told, question.field, fields[question.field], here.argmax(1))
    return found, scores


def tell_again(
    dependents: Sequence[Dependent],
    questions: Sequence[Question],
    fields: Sequence[Field],
    found: Sequence[Mapping[Path, Any]],
    *,
    ngrams: Sequence[AbstractSet[int]],
    scores: FloatArray,
) -> FloatArray:
    """Return the scores of all answers, with those of labels that follow from other fields.

    Args:
        dependents: In the order in which they are told.
        questions: All questions.
        fields: Of the records.
        found: The leaves of the records as they are told without.
        ngrams: Words and pairs of words of their texts.
        scores: Of the heads, shape (n, answers).
    """
    all_facts = facts_of(fields)
    facts, scores, places = all_facts.of_all(found), scores.copy(), columns_of(questions)
    for dependent in dependents:
        place, index = places[dependent.question], questions[dependent.question].field
        scores[:, place] = dependent.scores(facts, ngrams)
        all_facts.put(facts, index, fields[index], scores[:, place].argmax(1))
    return scores


def _fit(
    question: int,
    answers: int,
    facts: FloatArray,
    ngrams: Sequence[AbstractSet[int]],
    labels: IntArray,
    *,
    rows: IntArray,
) -> Dependent:
    """Fit a label's forest on some rows."""
    # Only training needs scikit-learn; a gateway must not wait for it.
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    rows = np.random.default_rng(0).permutation(rows)[:MOST_ROWS]
    facts, labels, ngrams = facts[rows], labels[rows], [ngrams[row] for row in rows.tolist()]
    chosen = _telling(facts, ngrams, labels, answers)
    read = _read(facts, chosen, ngrams)
    model = RandomForestClassifier(TREES, max_features=0.5, max_leaf_nodes=LEAVES, random_state=0)
    model.fit(read, labels)
    trees = [one.tree_ for one in model.estimators_]
    size = max(tree.node_count for tree in trees)
    feature, left, right = (np.zeros((len(trees), size), np.int64) for _ in range(3))
    threshold = np.zeros((len(trees), size), np.float32)
    shares = np.zeros((len(trees), size, answers), np.float16)
    for i, tree in enumerate(trees):
        n, leaf, own = tree.node_count, tree.children_left < 0, np.arange(tree.node_count)
        feature[i, :n] = np.where(leaf, 0, tree.feature)
        threshold[i, :n] = tree.threshold
        left[i, :n] = np.where(leaf, own, tree.children_left)
        right[i, :n] = np.where(leaf, own, tree.children_right)
        shares[i, :n, model.classes_] = tree.value[:, 0].T
    return Dependent(question, np.array(chosen, np.uint64), feature, threshold, left, right, shares)


def _telling(
    facts: FloatArray, ngrams: Sequence[AbstractSet[int]], labels: IntArray, answers: int
) -> list[int]:
    """Return the words and pairs of words that say most beyond the other fields."""
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    model = DecisionTreeClassifier(
        max_leaf_nodes=GROUPS, min_samples_leaf=FEWEST_GROUP, random_state=0
    )
    left_over = np.eye(answers)[labels]
    if facts.shape[1]:
        model.fit(facts.astype(np.float32), labels)
        left_over[:, model.classes_] -= model.predict_proba(facts.astype(np.float32))
    rows_of: dict[int, list[int]] = {}
    for row, own in enumerate(ngrams):
        for key in own:
            rows_of.setdefault(key, []).append(row)
    told = {
        key: float((left_over[rows].sum(0) ** 2).sum() / len(rows))
        for key, rows in rows_of.items()
        if len(rows) >= FEWEST_TEXTS
    }
    return sorted(told, key=lambda key: (-told[key], key))[:MOST_NGRAMS]


def evidently_better(before: BoolArray, after: BoolArray) -> bool:
    """Whether more records are right after than before, by McNemar's test of pairs."""
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return gained - lost > EVIDENT * math.sqrt(gained + lost)
