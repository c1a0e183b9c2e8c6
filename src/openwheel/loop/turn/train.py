"""Trains a student when that pays, and decides whether it is worth an attempt."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openwheel.executors import Computing, away
from openwheel.loop.audit.records import SliceChange, coverage_now
from openwheel.loop.data import FEWEST_LABELLED, TaskData, split
from openwheel.loop.feedback.corrections import corrected
from openwheel.loop.subject import Subject, believed_by
from openwheel.loop.turn import explain
from openwheel.loop.turn.choose import Trained
from openwheel.loop.turn.outsiders import Parts, train_inside
from openwheel.loop.turn.save import keep_refused, save_candidate
from openwheel.loop.turn.shadow import BETTER
from openwheel.loop.turn.state import TaskState
from openwheel.loop.turn.training import Training
from openwheel.students import train as train_rung
from openwheel.students.variables import choose_variables
from openwheel.tasks import FORMS

BoolArray = npt.NDArray[np.bool_]

FEWEST_TO_TRAIN = 200
"""Labelled exchanges before a first training: with fewer, half would be held out of very little."""

GROWTH = 1.25
"""A task is trained again when its labelled exchanges have grown by this factor."""

FIRST_GROWTH, FEW_LABELS = 1.05, 5_000
"""The factor before a first attempt, up to so many labels: training is quick, and no student
answers."""

AGAIN = 2.0
"""The factor of the labels since a slice was taken off, after which its task is trained again."""

ONE_LOOK = 0.5
"""Share of a first attempt's delta for one look at the exchanges that were held out from it. One
look needs fewer than looks at any time do; the rest is for those."""

UNTRAINED = "no student could be trained; no share of delta was spent."
UNLIKELY = "training predicts that no threshold would pass soon; no share of delta was spent."

WORTH_A_FIRST, FEWEST_VOTES = 0.6, 250
"""A first attempt comes when its one look, at so many votes or more, is likely to pass at a
coverage that is this share of what the student gets right. With few labels students get better
quickly, and with few votes the outcome hangs on one or two disagreements: a student that was tried
too early spends delta, and stands in the way of those after it."""

PATIENCE = 2.0
"""A student shadows if it is predicted to pass before the traffic has grown by this factor. Were it
to take longer, one that is trained on twice the labels passes as soon, and covers more."""

RUNG = "linear"
"""The rung to compare all exchanges with those since a change: the cheapest that generalises."""


def train(state: TaskState) -> Computing[None]:
    """Train a student where there are enough new labels; it shadows.

    Only a first attempt holds exchanges out. The time of a later one depends on the verdicts on the
    shadow before it, so those exchanges must not judge again: it trains on every label, and shadows
    later exchanges.
    """
    if not _is_due(state):
        return
    registry, subject, data = state.registry, state.subject, state.data
    first, labelled = subject.record.attempts == 0, state.labelled
    to_beat = max(coverage_now(registry, state.promotion), state.to_beat)
    usable = worth_training_on(subject, data.to_train(), state.changes.after, state.changes.slices)
    before, calibration = data, data.take(np.arange(0))
    if first:
        before, calibration = split(data)
        usable = usable.take(np.flatnonzero(usable.seq <= before.seq.max(initial=0)))
    if not len(usable):
        registry.set_trained_on(state.task_id, labelled)
        state.end("waiting", UNLIKELY + explain.in_the_way(subject, data))
        return
    trained_until = int(usable.seq.max())
    untrained = data.to_count()
    beside = (untrained.seq >= usable.seq.min()) & (untrained.seq <= trained_until)
    training = corrected(registry.store, subject.record, usable)
    state.progress(f"task {state.name}: training on {len(training):,}")
    share = ONE_LOOK if first else 1.0

    def train_on(parts: Parts) -> Computing[Trained | None]:
        trained, trouble = yield from away(
            Training(
                subject=subject,
                training=parts.training,
                untrained=parts.untrained,
                calibration=parts.calibration.inputs,
                expected=0 if first else len(data) // 2,
                anytime=True,
                share=share,
                progress=state.progress,
            )
        )
        for text in trouble:
            state.tell("trouble", text)
        return trained

    parts = Parts(training, untrained.take(np.flatnonzero(beside)), calibration)
    inside = yield from train_inside(registry, subject, parts, train_on)
    trained, (training, _, _), outside = inside
    for outsider in outside:
        state.tell("left", outsider.message())
    keys = tuple(outsider.key for outsider in outside)
    why_not = UNTRAINED if trained is None else _why_not_tried(trained, to_beat, first=first)
    if trained is None or why_not:
        registry.set_trained_on(state.task_id, labelled)
        blame = f" {trained.blame}" if trained is not None and trained.blame else ""
        reason = why_not + blame + explain.in_the_way(subject, before)
        if trained is not None:
            keep_refused(registry, subject, trained, training, outside=keys, refused=reason)
        state.end("waiting", reason)
        return
    try:
        state.subject = believed_by(subject, training)
        keep_refused(registry, state.subject, trained, training, outside=keys)
        state.shadow = save_candidate(
            registry,
            state.subject,
            trained,
            training,
            trained_until=trained_until,
            method="anytime",
            share=share,
            outside=keys,
        )
    finally:
        # Only now: a turn killed before this trained no student, so its task need not grow first.
        registry.set_trained_on(state.task_id, labelled)
    state.one_look = first


def _is_due(state: TaskState) -> bool:
    """Return whether there are enough new labels to train on; if not, the task's part is over."""
    stale = int((state.data.trains & (state.data.seq <= state.changes.after)).sum())
    labelled = state.labelled
    growth = GROWTH if state.subject.record.attempts or labelled > FEW_LABELS else FIRST_GROWTH
    grown = growth * max(state.trained_on - stale, 0)
    needed = max(FEWEST_TO_TRAIN, FEWEST_LABELLED, grown)
    if labelled - stale >= needed:
        return True
    if any(_enough_since(change, state.data, state.trained_on) for change in state.changes.off):
        return True
    if state.shadow is None and state.certificate is None:
        state.tell(
            "waiting",
            f"{labelled:,} labelled exchanges; the next training is at "
            f"{stale + int(np.ceil(needed)):,}",
        )
    state.over = True
    return False


def _why_not_tried(trained: Trained, to_beat: float, *, first: bool) -> str:
    """Return why a student is not tried, ``""`` if it is; the first one is judged at one look."""
    worth = trained.coverage >= WORTH_A_FIRST * trained.agreement > 0
    likely = first and worth and trained.evidence >= FEWEST_VOTES
    if not likely and (trained.growth is None or trained.growth > PATIENCE):
        return UNLIKELY
    if trained.coverage < to_beat + BETTER:
        return (
            f"a new student is predicted to cover {trained.coverage:.1%}, too little more than "
            "the one before; no share of delta was spent."
        )
    return ""


def _enough_since(change: SliceChange, data: TaskData, trained_on: int) -> bool:
    """Return whether there are enough labels to train again for a slice that audits took off.

    At first as many as for a first training, not all of other slices; after that twice as many.
    """
    since = data.trains & (data.seq > change.after_seq)
    fresh, stale = int(since.sum()), int((data.trains & ~since).sum())
    if fresh < max(FEWEST_TO_TRAIN, AGAIN * max(trained_on - stale, 0)):
        return False
    inside = sum(change.is_in(data.inputs[row]) for row in np.flatnonzero(since))
    return inside >= FEWEST_LABELLED


def worth_training_on(
    subject: Subject, data: TaskData, after_seq: int, slices: Sequence[SliceChange] = ()
) -> TaskData:
    """Return a task's exchanges without those from before a change, where these mislead.

    Two quick students are compared out of fold on exchanges since the change: one trained on all,
    one without what came before. Only labels are tried; records and texts keep everything. The
    change came after about ``after_seq``, 0 for none; of ``slices`` that changed later, only what
    is inside is tried.
    """
    if not FORMS[subject.record.form].closed:
        return data
    if after_seq:
        data = _without(data, data.seq <= after_seq, data.seq > after_seq)
    for change in slices:
        inside = np.array([change.is_in(values) for values in data.inputs], np.bool_)
        before = data.seq <= change.after_seq
        data = _without(data, inside & before, inside & ~before)
    return data


def _without(data: TaskData, stale: BoolArray, recent: BoolArray) -> TaskData:
    """Leave out stale exchanges if a student trained without them agrees more on recent ones."""
    if not stale.any() or not recent.any():
        return data
    current = data.take(np.flatnonzero(~stale))
    return current if _agreement(current, recent[~stale]) > _agreement(data, recent) else data


def _agreement(data: TaskData, recent: BoolArray) -> float:
    """Return the out-of-fold agreement of a quick student on recent exchanges."""
    variables = choose_variables(data.inputs, data.answers)
    try:
        fitted = train_rung(RUNG, data.inputs, data.answers, variables=variables)
    except ValueError:
        return 0.0  # nothing to learn from
    seen = fitted.agrees[recent[fitted.rows]]
    return float(seen.mean()) if len(seen) else 0.0
