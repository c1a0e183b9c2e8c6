"""Linear heads on one vocabulary of n-grams: a record's type, its other labels, what is present."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.students.cores import fit_core
from openwheel.students.evidence import Core, Evidence, evaluate, look_one
from openwheel.students.fields.form import ABSENT, EachCall, Field, as_json, as_value
from openwheel.students.head import fit_head
from openwheel.students.material import Material
from openwheel.students.tfidf import Counts, count
from openwheel.tasks.forms.record import Path

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Question(msgspec.Struct, frozen=True):
    """What a head tells of a record beside its type.

    Attributes:
        field: Index of the field.
        value: Of a list of labels, which value it may hold; -1 for which value a label has, or
            whether there is anything in a field that cannot be learned.
        answers: How many answers there are. Of two that are no values the second is "yes".
    """

    field: int
    value: int
    answers: int


class Heads(NamedTuple):
    """The head of the type with its evidence, and the others' side by side.

    Attributes:
        core: Of the type.
        weights: Shape (features, answers of all questions).
        bias: Shape (answers of all questions,).
        sizes: Answers of each question.
    """

    core: Core
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    sizes: tuple[int, ...]


class Said(NamedTuple):
    """What heads say of a batch.

    Attributes:
        evidence: Of the type.
        scores: Of all answers of all questions, shape (n, answers).
        answers: Of each question the answer with the highest score, shape (n, questions).
        leads: By how much it leads, shape (n, questions).
    """

    evidence: Evidence
    scores: FloatArray
    answers: IntArray
    leads: FloatArray


def said_with(evidence: Evidence, scores: FloatArray, sizes: Sequence[int]) -> Said:
    """Return what heads say by scores of all answers; of each question there are ``sizes``."""
    return Said(evidence, scores, *_answers(sizes, scores))


def columns_of(questions: Sequence[Question]) -> list[slice]:
    """Return where each question's answers are among those of all."""
    ends = np.cumsum([question.answers for question in questions]).tolist()
    return [slice(end - q.answers, end) for q, end in zip(questions, ends, strict=True)]


def questions_of(fields: Sequence[Field], type_field: int) -> tuple[Question, ...]:
    """Return what heads are asked beside the type, which is the field of this index."""
    found = []
    for i, field in enumerate(fields):
        if field.kind == "label" and i != type_field:
            found.append(Question(i, -1, len(field.values)))
        elif field.kind == "labels":
            found += [Question(i, value, 2) for value in range(len(field.values))]
        elif field.kind == "other":
            found.append(Question(i, -1, 2))
    return tuple(found)


def labels_of(question: Question, field: Field, flat: Sequence[dict[Path, object]]) -> IntArray:
    """Return the answers of records to a question, -1 where a label came too seldom."""
    index = {value: i for i, value in enumerate(field.values)}
    labels = np.zeros(len(flat), np.int64)
    for row, found in enumerate(flat):
        there = field.path in found
        if field.kind == "label":
            said = as_value(found[field.path]) if there else ABSENT
            labels[row] = index.get(said, -1)
        elif field.kind == "labels":
            value = found.get(field.path)
            parts = value if isinstance(value, list) else []
            labels[row] = (
                -1
                if isinstance(value, EachCall)
                else field.values[question.value] in {as_json(part) for part in parts}
            )
        else:
            labels[row] = there
    return labels


def fit_heads(
    material: Material, rows: IntArray, types: int, labels: Sequence[tuple[Question, IntArray]]
) -> Heads:
    """Fit the heads on some rows.

    Args:
        material: Its labels are the types.
        rows: Those to fit on.
        types: How many types there are.
        labels: The other questions, with the answer of each row.
    """
    core = fit_core(material, rows, types)
    assert core.lexical is not None
    assert material.counts is not None
    width = len(core.lexical.tfidf.keys)
    weights, bias = [np.zeros((width, 0), np.float32)], [np.zeros(0, np.float32)]
    if labels:
        chosen = Counts(material.counts.matrix[rows], material.counts.keys)
        features, _ = core.lexical.tfidf.weigh(chosen)
        for question, own in labels:
            known = own[rows] >= 0
            if not known.any():
                weights.append(np.zeros((width, question.answers), np.float32))
                bias.append(np.zeros(question.answers, np.float32))
                continue
            head = fit_head(
                features[known], own[rows][known], question.answers, material.weights[rows][known]
            )
            weights.append(head.weights)
            bias.append(head.bias)
    return Heads(
        core,
        np.concatenate(weights, axis=1),
        np.concatenate(bias),
        tuple(question.answers for question, _ in labels),
    )


def said_of_rows(heads: Heads, material: Material, rows: IntArray) -> Said:
    """Return what heads say of some rows of training."""
    assert heads.core.lexical is not None
    assert material.counts is not None
    chosen = Counts(material.counts.matrix[rows], material.counts.keys)
    return _said(heads, [material.texts[i] for i in rows], chosen)


def said_of(heads: Heads, texts: Sequence[str]) -> Said:
    """Return what heads say of texts."""
    if len(texts) != 1:
        return _said(heads, texts, count(texts))
    evidence = look_one(heads.core, texts[0], None)
    scores = np.zeros((1, len(heads.bias)))
    if heads.sizes and heads.core.lexical is not None:
        columns, values, _ = heads.core.lexical.tfidf.weigh_one(texts[0])
        scores[0] = values @ heads.weights[columns] + heads.bias
    return said_with(evidence, scores, heads.sizes)


def _said(heads: Heads, texts: Sequence[str], counts: Counts) -> Said:
    assert heads.core.lexical is not None
    features, unseen = heads.core.lexical.tfidf.weigh(counts)
    evidence = evaluate(heads.core, texts, features, unseen, None)
    scores = np.asarray(features @ heads.weights, np.float64) + heads.bias
    return said_with(evidence, scores, heads.sizes)


def _answers(sizes: Sequence[int], scores: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the answer with the highest score to each question, and its lead."""
    answers = np.zeros((len(scores), len(sizes)), np.int64)
    leads = np.zeros((len(scores), len(sizes)))
    start = 0
    for i, size in enumerate(sizes):
        own = scores[:, start : start + size]
        start += size
        answers[:, i] = own.argmax(1)
        if size > 1:
            top = np.sort(own, axis=1)
            leads[:, i] = top[:, -1] - top[:, -2]
        else:
            leads[:, i] = 1.0
    return answers, leads
