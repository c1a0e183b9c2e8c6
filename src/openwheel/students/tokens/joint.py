"""The second record of a text, by the encoder, and what both records together tell."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.students.agreement import Agreement
from openwheel.students.fields.align import Tag, forbidden, tags_of
from openwheel.students.fields.crf import Choices, Crf, decode
from openwheel.students.fields.drafts import Draft
from openwheel.students.fields.form import as_json
from openwheel.students.fields.student import FieldsStudent, Looked
from openwheel.students.tokens.reader import Scores

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CLIP = 30.0
"""Logarithms of odds and probabilities are cut off there."""


class Pairs(NamedTuple):
    """Two records of each text.

    Attributes:
        first: By heads and tagger.
        second: By the encoder.
        features: What speaks for them, shape (n, k).
    """

    first: Sequence[Draft]
    second: list[Draft]
    features: FloatArray


class Picks(NamedTuple):
    """Models of whether the first and the second record of a text agree with the teacher's."""

    first: Agreement
    second: Agreement

    def logits(self, features: FloatArray) -> FloatArray:
        """Return the log odds of both, shape (n, 2)."""
        both = np.stack([model.confidence(features) for model in self], axis=1)
        return np.asarray(np.log(both / (1 - both)))


def pairs_of(student: FieldsStudent, looked: Looked, scores: Scores) -> Pairs:
    """Make the encoder's records, beside those of heads and tagger.

    Args:
        student: Makes records of what is said.
        looked: The records by heads and tagger.
        scores: What the encoder says of the texts' words and of the texts.
    """
    readings, said = looked.readings, looked.said
    tags = student.settings.tags
    lengths = np.array([len(one.words) for one in readings], np.int64)
    likely = log_softmax(scores.tags)
    labels, answers, leads, odds = _said(student, scores.labels)
    # Labels that follow from other fields are told by a forest, which is as good for both.
    told = [dependent.question for dependent in student.dependents]
    answers[:, told], leads[:, told] = said.answers[:, told], said.leads[:, told]
    # No weight of its own for one tag after another: only what cannot be is left out.
    rules = Crf(np.zeros((0, len(tags)), np.float32), forbidden(tags))
    allowed = student.tagger.choices
    decoded = decode(rules, likely, lengths, Choices(allowed.tags, allowed.groups[labels]))
    ends = np.cumsum(lengths)
    index = {tag: i for i, tag in enumerate(tags)}
    second, rows = [], []
    for i, (one, draft) in enumerate(zip(readings, looked.drafts, strict=True)):
        made = student.draft_of(one, int(labels[i]), answers[i], decoded[i])
        row = student.evidence_of(one, made, int(labels[i]), leads[i], decoded[i])
        second.append(made if one.words else made._replace(record=None))
        own = likely[ends[i] - lengths[i] : ends[i]]
        rows.append([*row, *odds[i], *_agreement(draft, made, own, index)])
    features = np.concatenate((looked.features, np.array(rows)), axis=1)
    return Pairs(looked.drafts, second, features)


def chosen(pairs: Pairs, logits: FloatArray, able: BoolArray) -> tuple[list[Draft], FloatArray]:
    """Return the surer record of each text, and all that speaks for it, shape (n, k).

    Args:
        pairs: Both records of each text.
        logits: The log odds that they agree, shape (n, 2).
        able: Whether each can be sent, shape (n, 2).
    """
    odds = np.where(able, logits, -CLIP)
    second = odds[:, 1] > odds[:, 0]
    drafts = [
        other if take else one
        for one, other, take in zip(pairs.first, pairs.second, second, strict=True)
    ]
    told = np.stack((odds[:, 0], odds[:, 1], odds.max(1), second.astype(np.float64)), axis=1)
    return drafts, np.concatenate((pairs.features, told), axis=1)


def log_softmax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the logarithms of probabilities, of scores along the last axis."""
    plain = scores.astype(np.float32)
    if not plain.shape[1]:
        return plain
    plain = plain - plain.max(1, keepdims=True)
    return np.asarray(plain - np.log(np.exp(plain).sum(1, keepdims=True)), np.float32)


def _said(
    student: FieldsStudent, scores: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, FloatArray]:
    """Return types, answers to the other questions, their leads, and features of the types."""
    sizes = [len(student.settings.types), *(q.answers for q in student.settings.questions)]
    found = np.zeros((len(scores), len(sizes)), np.int64)
    leads = np.zeros((len(scores), len(sizes)))
    top: FloatArray = np.zeros(len(scores))
    start = 0
    for i, size in enumerate(sizes):
        likely = log_softmax(scores[:, start : start + size])
        start += size
        found[:, i] = likely.argmax(1)
        order = np.sort(likely, axis=1)
        leads[:, i] = order[:, -1] - order[:, -2] if size > 1 else 1.0
        if i == 0:
            top = order[:, -1].astype(np.float64)
    return found[:, 0], found[:, 1:], leads[:, 1:], np.stack((top, leads[:, 0]), axis=1)


def _agreement(
    one: Draft, other: Draft, likely: npt.NDArray[np.float32], index: dict[Tag, int]
) -> list[float]:
    """Return how far two records are one, and how likely the encoder thinks the first's values."""
    first, second = ({span[:3] for span in draft.spans} for draft in (one, other))
    same = one.record is not None and other.record is not None
    same = same and as_json(one.record) == as_json(other.record)
    support = 0.0
    least = 0.0
    if len(likely):
        tags = [index.get(tag, 0) for tag in tags_of(len(likely), [span[:3] for span in one.spans])]
        own = likely[np.arange(len(likely)), tags]
        support, least = float(own.sum()), float(own.min())
    return [
        float(same),
        float(first == second),
        float(len(first - second)),
        float(len(second - first)),
        max(support, -CLIP),
        max(least, -CLIP),
    ]
