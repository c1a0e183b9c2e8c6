"""Decides which corrections are believed, and puts them into training.

A correction outranks the teacher in training, and nowhere else: calibration and audits stay about
agreement with the teacher. Anybody who can send feedback could otherwise teach students wrong
answers, so a key is believed by its trust, and may change a limited share of a task's labels.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np

from openwheel.loop.data import Origin, TaskData, decode_inputs
from openwheel.loop.feedback.desk import why_unusable
from openwheel.loop.records import Candidate, TaskRecord
from openwheel.loop.registry import Registry
from openwheel.store import BY_STUDENTS, Store
from openwheel.store.feedback import NO_KEY, Corrected, FeedbackStore, Trust
from openwheel.tasks import FORMS, Form, Inputs, canonical_answer
from openwheel.wire import Answer

MOST_SHARE: Final[Mapping[Trust, float]] = MappingProxyType(
    {"none": 0.0, "low": 0.01, "normal": 0.02, "high": 0.5}
)
"""The largest share of a task's training labels that one key may change, by its trust."""

QUORUM: Final = 0.1
"""Keys of low trust are believed on an input when more than this share of all keys says the same,
so that a person who controls fewer cannot confirm their own corrections."""

FEWEST_VOICES: Final = 2

CORRECTION: Final = Origin("", "correction")
"""The source of answers that were neither the teacher's nor a log's."""


class Believed(msgspec.Struct, frozen=True):
    """A correction that may train.

    Attributes:
        row: The correction and its exchange.
        answer: The correction in canonical form.
    """

    row: Corrected
    answer: str


class Sorted(msgspec.Struct, frozen=True):
    """A task's corrections by how they may be used.

    Attributes:
        believed: Those that may train, by exchange.
        unconfirmed: Those that no key of enough trust has confirmed.
        contradicted: Those of inputs on which equally trusted keys disagree, and those that
            others outrank.
        unusable: Those that are no answers of the task's form.
        beyond: Those past their keys' share.
    """

    believed: Mapping[int, Believed]
    unconfirmed: int
    contradicted: int
    unusable: int
    beyond: int


def sort_corrections(
    rows: Sequence[Corrected],
    trusts: Mapping[int, Trust],
    form: Form,
    *,
    labels: int,
    classes: frozenset[str] | None = None,
    folds: tuple[str, ...] = (),
) -> Sorted:
    """Sort corrections by whether they are believed.

    All corrections of one input are taken together. Keys of high trust outrank those of normal
    trust, and these all others; if the most trusted disagree, none is believed.

    Args:
        rows: All corrections of a task.
        trusts: The trust of each key; one that is missing has low trust.
        labels: How many exchanges there are to train on, of which a key may change a share.
        classes: The answers that a label task has; None where any will do.
    """
    trusts = {NO_KEY: "normal", **trusts}
    live = sum(trust != "none" for key, trust in trusts.items() if key != NO_KEY)
    quorum = max(FEWEST_VOICES, math.floor(QUORUM * live) + 1)
    count: Counter[str] = Counter()
    by_inputs: dict[str, list[Believed]] = defaultdict(list)
    for row in rows:
        answer = canonical_answer(Answer(row.correction), form, folds)
        if why_unusable(row.correction, form, folds) or (
            classes is not None and answer not in classes
        ):
            count["unusable"] += 1
        else:
            by_inputs[row.inputs].append(Believed(row, answer))
    chosen: list[tuple[Believed, set[int]]] = []
    for group in by_inputs.values():
        verdict, voices, refusal = _verdict(group, trusts, quorum)
        for correction in group:
            if correction.answer == verdict:
                chosen.append((correction, voices))
            else:
                count[refusal] += 1
    charged: Counter[int] = Counter()
    believed: dict[int, Believed] = {}
    # The newest exchanges are most like the traffic to come.
    for correction, voices in sorted(chosen, key=lambda pair: -pair[0].row.seq):
        if correction.row.seq in believed:
            continue
        free = [
            (charged[key], key)
            for key in voices
            if charged[key] < math.floor(MOST_SHARE[trusts.get(key, "low")] * labels)
        ]
        if not free:
            count["beyond"] += 1
            continue
        charged[min(free)[1]] += 1
        believed[correction.row.seq] = correction
    return Sorted(
        believed, count["unconfirmed"], count["contradicted"], count["unusable"], count["beyond"]
    )


def _verdict(
    group: Sequence[Believed], trusts: Mapping[int, Trust], quorum: int
) -> tuple[str | None, set[int], str]:
    """Return the answer believed for an input, if any, its keys, and the reason against others."""
    for level, needed in (("high", 1), ("normal", 1), ("low", quorum)):
        voices: dict[str, set[int]] = defaultdict(set)
        for correction in group:
            if trusts.get(correction.row.key, "low") == level:
                voices[correction.answer].add(correction.row.key)
        enough = [answer for answer, keys in voices.items() if len(keys) >= needed]
        if len(enough) == 1:
            return enough[0], voices[enough[0]], "contradicted"
        if enough:
            return None, set(), "contradicted"
    return None, set(), "unconfirmed"


def task_corrections(store: Store, record: TaskRecord, data: TaskData) -> Sorted:
    """Sort a task's corrections, given its exchanges to train on."""
    feedback = FeedbackStore(store)
    rows = feedback.corrections(record.task.id)
    classes = frozenset(data.answers) if FORMS[record.form].closed else None
    return sort_corrections(
        rows, feedback.trusts(), record.form, labels=len(data), classes=classes, folds=record.folds
    )


def corrected(store: Store, record: TaskRecord, training: TaskData) -> TaskData:
    """Return exchanges to train on, with corrections in place of the answers.

    A teacher's answer, an audit's included, is replaced; an exchange that a student answered and no
    teacher did is added. Only exchanges of the time that the others span are.
    """
    if not len(training):
        return training
    first, last = int(training.seq.min()), int(training.seq.max())
    believed = task_corrections(store, record, training).believed
    inside = {seq: correction for seq, correction in believed.items() if first <= seq <= last}
    if not inside:
        return training
    students = [
        correction.row.id for correction in inside.values() if correction.row.source in BY_STUDENTS
    ]
    audits = FeedbackStore(store).audits_of(students)
    place = {int(seq): i for i, seq in enumerate(training.seq)}
    answers, texts = list(training.answers), list(training.texts)
    thoughts = list(training.thoughts)
    probabilities = list(training.probabilities)
    surfaces = dict(training.surfaces)
    added: list[Believed] = []
    for seq, correction in inside.items():
        at = place.get(seq)
        if at is None and correction.row.id in audits:
            at = place.get(audits[correction.row.id][0])
        if at is not None:
            answers[at], texts[at], thoughts[at] = correction.answer, correction.row.correction, ""
            probabilities[at] = ()  # they were of the answer that was corrected
        elif correction.row.source in BY_STUDENTS:
            added.append(correction)
        else:
            continue  # exchanges that the policy or a change left out stay out
        surfaces.setdefault(correction.answer, correction.row.correction)
    rows = [correction.row for correction in added]
    together = msgspec.structs.replace(
        training,
        seq=np.concatenate([training.seq, np.array([row.seq for row in rows], np.int64)]),
        place=np.concatenate([training.place, np.array([row.seq for row in rows], np.int64)]),
        time=np.concatenate([training.time, np.array([row.time for row in rows], np.float64)]),
        unbiased=np.concatenate([training.unbiased, np.zeros(len(rows), np.bool_)]),
        probability=np.concatenate([training.probability, np.ones(len(rows))]),
        weight=np.concatenate([training.weight, np.zeros(len(rows))]),
        finished=np.concatenate([training.finished, np.ones(len(rows), np.bool_)]),
        trains=np.concatenate([training.trains, np.ones(len(rows), np.bool_)]),
        inputs=[*training.inputs, *(decode_inputs(row.inputs) for row in rows)],
        settings=[*training.settings, *(row.settings for row in rows)],
        answers=[*answers, *(correction.answer for correction in added)],
        texts=[*texts, *(row.correction for row in rows)],
        thoughts=[*thoughts, *("" for _ in rows)],
        surfaces=surfaces,
        origins=[*training.origins, *(CORRECTION for _ in rows)],
        keys=[*training.keys, *("" for _ in rows)],
        probabilities=[*probabilities, *(() for _ in rows)],
    )
    # Shuffled exchanges stay as they are: they were declared exchangeable.
    return together if not rows else together.take(np.argsort(together.seq, kind="stable"))


def corrected_inputs(registry: Registry, candidate: Candidate) -> list[Inputs]:
    """Return inputs of corrected exchanges that a candidate may have been trained on.

    Whether they were believed does not matter: which exchanges are left out of the evidence must
    follow from facts before the evidence came, and never from feedback on it.
    """
    created_at = {
        other.id: created for other, _, created in registry.candidates(task_id=candidate.task_id)
    }
    until = created_at.get(candidate.id, time.time())
    return [
        decode_inputs(row.inputs)
        for row in FeedbackStore(registry.store).corrections(candidate.task_id)
        if row.source in BY_STUDENTS and row.seq <= candidate.trained_until and row.spoken <= until
    ]
