"""Finds keys whose traffic does not fit a task, and leaves them to the teacher.

A key is a slice that cuts across inputs. Its holder could otherwise make a task hard to learn for
all: with odd answers that turn its labels into text, or with answers that no student can give.
Training exchanges alone decide which keys are outside, before a calibration label is read. From
then on students neither learn from them, nor answer them, nor are judged on them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import scipy

from openwheel.executors import Computing
from openwheel.gate import make_plan
from openwheel.loop.data import TaskData
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject
from openwheel.loop.turn.choose import Stream, Trained, evidently_bad
from openwheel.store import keys as store_keys
from openwheel.store.feedback import FeedbackStore
from openwheel.tasks import FormEvidence, canonical_answer, infer_form
from openwheel.tasks.forms import shown
from openwheel.wire import Answer

MOST = 0.25
"""The largest share of a task's exchanges that may be outside: a larger share is the task
itself."""

EVIDENT = 0.01
"""A key is outside when chance alone would show what it did in fewer cases than this, whichever of
all keys it is."""

ROUNDS = 2
"""Times that a task is trained again without keys, since one key's odd answers may hide
another's."""

TRIED = 20
"""The most keys that are left out to infer a form."""


class Outside(msgspec.Struct, frozen=True):
    """A key that is outside of a task.

    Attributes:
        key: Its name.
        exchanges: How many training exchanges it sent.
        disagreements: On how many of them the student would have disagreed with the teacher; None
            if a user put it outside.
    """

    key: str
    exchanges: int
    disagreements: int | None = None

    def message(self) -> str:
        """Say why the keys are outside, in a sentence."""
        client = f"the key {shown(self.key)}" if self.key else "clients without a key"
        reason = (
            "as the settings say (keys_outside)"
            if self.disagreements is None
            else f"on {self.disagreements:,} of which the student disagrees with the teacher, far "
            "more than on others'; keys_inside in the task's settings takes them back in"
        )
        return (
            f"Requests of {client} are left to the teacher, "
            f"{self.exchanges:,} of those to train on, {reason}."
        )


class Parts(NamedTuple):
    """Exchanges to train on, those of the same time that only count, and those to judge with."""

    training: TaskData
    untrained: TaskData
    calibration: TaskData

    def without(self, outside: Sequence[Outside]) -> "Parts":
        """Return them without those of keys that are outside."""
        keys = {outsider.key for outsider in outside}
        return Parts(*(part.without(keys) for part in self))


class Inside(NamedTuple):
    """A student with the exchanges that it was trained on, once keys were put outside.

    Attributes:
        trained: None if there was nothing to learn.
        parts: The exchanges of other keys.
        outside: The keys.
    """

    trained: Trained | None
    parts: Parts
    outside: tuple[Outside, ...]


def train_inside(
    registry: Registry,
    subject: Subject,
    parts: Parts,
    train: Callable[[Parts], Computing[Trained | None]],
) -> Computing[Inside]:
    """Train a student on the exchanges of the keys whose traffic fits the task.

    The answers of those to judge with are not read.
    """
    section = subject.settings.task(subject.record.task.name)
    seen = Counter(parts.training.keys) + Counter(parts.untrained.keys)
    outside = [Outside(key, seen[key]) for key in section.keys_outside if seen[key]]
    inside = {*section.keys_inside, *trusted_keys(registry)}
    parts = parts.without(outside)
    most = MOST * (len(parts.training) + len(parts.untrained))
    trained = (yield from train(parts)) if len(parts.training) else None
    for _ in range(ROUNDS):
        if trained is None:
            break
        new_outsiders = misfits(
            trained.stream, subject.settings, inside=inside, most=most, bounded=subject.bounded
        )
        if not new_outsiders:
            break
        outside += new_outsiders
        most -= sum(seen[outsider.key] for outsider in new_outsiders)
        parts = parts.without(new_outsiders)
        trained = yield from train(parts)
    return Inside(trained, parts, tuple(outside))


def misfits(
    stream: Stream,
    settings: LoopSettings,
    *,
    inside: Collection[str],
    most: float,
    bounded: bool = False,
) -> list[Outside]:
    """Return the keys whose disagreement is evidently above epsilon where others' is not.

    The candidates are keys that disagree evidently more often than all others together. One is
    outside if it disagrees evidently too often where the student would answer the others.

    Args:
        stream: What a student would have done on training exchanges, out of fold.
        inside: Keys that are not put outside.
        most: How many exchanges may be outside.
        bounded: Whether a loss may lie strictly between 0 and 1.
    """
    keys = np.array(stream.keys, np.object_)
    sizes = Counter(stream.keys)
    if len(sizes) < 2:
        return []
    epsilon = settings.epsilon
    wrong = {key: float(stream.losses[keys == key].sum()) for key in sizes}
    total, all_wrong = len(keys), float(stream.losses.sum())
    suspects: list[tuple[float, str]] = []
    for key, size in sizes.items():
        if key in inside or size > most:
            continue
        rate_of_others = (all_wrong - wrong[key]) / max(total - size, 1)
        p = _above(wrong[key], size, max(epsilon, rate_of_others))
        if p < EVIDENT / len(sizes):
            suspects.append((p, key))
    remaining: npt.NDArray[np.bool_] = np.ones(total, np.bool_)
    for _, key in sorted(suspects):
        if sizes[key] <= most:
            most -= sizes[key]
            remaining &= keys != key
    if remaining.all() or not remaining.any():
        return []
    plan = make_plan(
        stream.confidence[remaining],
        stream.losses[remaining],
        epsilon=epsilon,
        delta=settings.delta,
        calibration=max(int(remaining.sum()) // 3, 1),
        bounded=bounded,
    )
    if not plan.thresholds:
        return []  # without them it cannot be learned either
    start = plan.thresholds[int(np.argmax(plan.weights))]
    bad = evidently_bad(
        stream.keys, (stream.confidence >= start) & ~remaining, stream.losses, epsilon
    )
    return [Outside(key, sizes[key], round(wrong[key])) for key in bad]


def _above(wrong: float, size: int, rate: float) -> float:
    """Return the chance of so many disagreements under a rate."""
    if rate >= 1:
        return 1.0
    return float(scipy.special.bdtrc(np.floor(wrong) - 1, size, rate))


def trusted_keys(registry: Registry) -> set[str]:
    """Return the names of the keys of high trust."""
    trusts = FeedbackStore(registry.store).trusts()
    if "high" not in trusts.values():
        return set()
    with registry.store.read() as transaction:
        stored = store_keys.read(transaction)
    return {key.name for key in stored if trusts.get(key.id) == "high"}


def form_inside(
    answers: Sequence[Answer],
    keys: Sequence[str],
    folds: tuple[str, ...] = (),
    *,
    inside: Collection[str] = (),
    closed: bool = True,
) -> FormEvidence:
    """Infer the form of a task's answers, if necessary without those of a few keys.

    If all answers together have no form, answers of the keys with the most unique answers are left
    out, up to a share of all; never those ``inside``. ``closed``: see `infer_form`.
    """
    evidence = infer_form(answers, folds, closed=closed)
    sizes = Counter(keys)
    if evidence.form not in {"text", "unknown"} or len(sizes) < 2:
        return evidence
    keys_of: dict[str, set[str]] = defaultdict(set)
    texts = [canonical_answer(answer, "label", folds) for answer in answers]
    for text, key in zip(texts, keys, strict=True):
        keys_of[text].add(key)
    sole = Counter(key for text, key in zip(texts, keys, strict=True) if len(keys_of[text]) == 1)
    room, out = MOST * len(answers), list[str]()
    for key, _ in sole.most_common(TRIED):
        if key in inside or sizes[key] > room:
            continue
        room -= sizes[key]
        out.append(key)
        rest = [answer for answer, key in zip(answers, keys, strict=True) if key not in out]
        inferred = infer_form(rest, folds, closed=closed)
        if inferred.form not in {"text", "unknown"}:
            named = ", ".join(
                f"{shown(key) if key else 'none'} ({sole[key]:,} of {sizes[key]:,} answers that "
                "nobody else got)"
                for key in out
            )
            reason = f"{inferred.reason} Left out of this are the keys {named}."
            return msgspec.structs.replace(inferred, reason=reason)
    return evidence
