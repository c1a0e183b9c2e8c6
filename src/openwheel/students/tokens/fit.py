"""Training a student of records with an encoder that is tuned on the task.

Each half of the records is read by a body that was tuned on the other half, and the student's body
is tuned on all: see `openwheel.students.tuned`, which does so for labels.
"""

import logging
import tempfile

import numpy as np
import numpy.typing as npt

from openwheel.errors import ModelError
from openwheel.progress import Step
from openwheel.students.agreement import Agreement, fit_agreement, out_of_fold_confidence
from openwheel.students.encoder import readable
from openwheel.students.fields.align import tags_of
from openwheel.students.fields.confidence import Confidence
from openwheel.students.fields.fit import Learned, learn_fields, losses_of, with_confidence
from openwheel.students.fields.heads import Said
from openwheel.students.fields.student import Looked
from openwheel.students.guard import Guard
from openwheel.students.rung import Lesson
from openwheel.students.student import Fitted, NotLearnedError
from openwheel.students.tokens.joint import CLIP, Pairs, Picks, chosen, pairs_of
from openwheel.students.tokens.order import TokenOrder
from openwheel.students.tokens.reader import Scores
from openwheel.students.tokens.student import TokenStudent
from openwheel.students.tokens.tuning import TokenTuning, tuning_tokens
from openwheel.students.tune.order import Tune
from openwheel.students.tuned import (
    FEWEST_TEXTS,
    FOLDS,
    INNER,
    ROOM,
    WITHOUT,
    WORTH,
    following,
    risk_coverage_area,
    within_limits,
)

_log = logging.getLogger("openwheel.students")

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def fit_tokens(lesson: Lesson) -> Fitted:
    """Train a student of records with an encoder.

    Raises:
        ValueError: There is no encoder, or nothing to learn.
        NotLearnedError: A field cannot be learned, or tuning the encoder does not pay.
        ModelError: The encoder cannot be tuned, or not within its time.
        SettingError: The extra is not installed.
    """
    if lesson.encoder is None:
        raise ValueError("the rung encoder is trained with an encoder, and there is none")
    if lesson.tune is None:
        raise NotLearnedError(
            'it learns records by training the encoder, which tune_encoder = "never" leaves out'
        )
    learned = learn_fields(lesson)
    first = _Judged.of(learned, [learned.student.written(draft) for draft in learned.drafts])
    texts = int(within_limits(learned.learning.material).sum())
    if texts < FEWEST_TEXTS:
        raise NotLearnedError(
            f"it trains the encoder on at least {FEWEST_TEXTS} different texts, there are {texts}"
        )
    right = float(first.agreement.mean())
    if 1 - right < ROOM and not lesson.tune.always:
        raise NotLearnedError(
            f"heads and tagger alone agree on {right:.1%} out of fold, which leaves an encoder "
            "little to add"
        )
    lesson.progress(f"training the encoder on {texts:,} texts; {WITHOUT}")
    try:
        with (
            Step(lesson.progress, f"training the encoder ({WITHOUT})", unit="steps") as step,
            tempfile.TemporaryDirectory(prefix="openwheel-tune-") as folder,
        ):
            order = order_of(learned, lesson.encoder.name, folder, lesson.tune)
            tell = following(step, lesson.progress, lesson.tune.deadline_s)
            with tuning_tokens(order, tell) as tuning:
                return _fitted(learned, first, tuning, lesson.encoder.name, lesson.tune)
    except OSError as error:
        raise ModelError(f"training the encoder needs a folder for its files: {error}") from None


def order_of(learned: Learned, encoder: str, folder: str, tune: Tune) -> TokenOrder:
    """Return the order to tune an encoder on records."""
    learning, material = learned.learning, learned.learning.material
    index = {tag: i for i, tag in enumerate(learned.student.settings.tags)}
    labels = np.stack([material.labels, *[labels for _, labels in learning.labels]], axis=1)
    trained = within_limits(material)
    return TokenOrder(
        folder=folder,
        encoder=encoder,
        texts=tuple(readable(one.text) for one in learned.readings),
        words=tuple(
            tuple((word.start, word.end) for word in one.words) for one in learned.readings
        ),
        tags=tuple(
            tuple(index[tag] for tag in tags_of(len(one.words), found.spans)) if own else ()
            for one, found, own in zip(
                learned.readings, learning.aligned, trained.tolist(), strict=True
            )
        ),
        tag_count=len(index),
        labels=tuple(map(tuple, labels.tolist())),
        sizes=(len(learning.types), *(question.answers for question in learning.questions)),
        weights=tuple(material.weights.tolist()),
        folds=tuple(_folds(learned).tolist()),
        deadline_s=tune.deadline_s,
        recipe=tune.tokens,
    )


def _folds(learned: Learned) -> IntArray:
    return learned.learning.material.places % FOLDS


class _Judged:
    """Records out of fold: whether they can be sent, and how far they agree with the teacher's."""

    def __init__(self, written: list[str], agreement: FloatArray) -> None:
        self.able = np.array([bool(text) for text in written], np.bool_)
        self.agreement = agreement

    @classmethod
    def of(cls, learned: Learned, written: list[str]) -> "_Judged":
        """Judge all records of training."""
        return cls(written, 1 - losses_of(learned, written))


def _fitted(
    learned: Learned, first: _Judged, tuning: TokenTuning, encoder: str, tune: Tune
) -> Fitted:
    """Judge the first half, and wait for the rest if the encoder pays."""
    folds = _folds(learned)
    half = np.flatnonzero(folds == 0)
    parts = [_pairs(learned, half, tuning.fold(0))]
    if not _pays(learned, first, half, parts[0]) and not tune.always:
        raise NotLearnedError(
            "training the encoder does not pay: on records that it has not seen the rung linear "
            "is as good"
        )
    rows = [half]
    for fold in range(1, FOLDS):
        rows.append(np.flatnonzero(folds == fold))
        parts.append(_pairs(learned, rows[-1], tuning.fold(fold)))
    back = np.argsort(np.concatenate(rows), kind="stable")
    seconds = [draft for part in parts for draft in part.second]
    pairs = Pairs(
        learned.drafts,
        [seconds[i] for i in back],
        np.concatenate([part.features for part in parts])[back],
    )
    everything = np.arange(len(learned.drafts))
    second = _second(learned, everything, pairs)
    able = np.stack((first.able, second.able), axis=1)
    picks, logits = _picks(learned, everything, pairs, first.agreement, second.agreement)
    drafts, features = chosen(pairs, logits, able)
    reader = tuning.reader()

    def build(confidence: Confidence, guard: Guard) -> TokenStudent:
        return TokenStudent(
            learned.student.sure(learned.student.confidence, guard),
            encoder=encoder,
            reader=reader,
            picks=picks,
            confidence=confidence,
        )

    return with_confidence(learned, drafts, features, build)


def _pairs(learned: Learned, rows: IntArray, scores: Scores) -> Pairs:
    """Return both records of some rows."""
    said = learned.said
    readings = [learned.readings[i] for i in rows]
    looked = Looked(
        readings,
        Said(said.evidence.take(rows), said.scores[rows], said.answers[rows], said.leads[rows]),
        [learned.drafts[i] for i in rows],
        learned.features[rows],
        np.array([bool(one.words) for one in readings], np.bool_),
    )
    return pairs_of(learned.student, looked, scores)


def _second(learned: Learned, rows: IntArray, pairs: Pairs) -> _Judged:
    """Judge the encoder's records of some rows."""
    written = [""] * len(learned.drafts)
    for row, draft in zip(rows, pairs.second, strict=True):
        written[row] = learned.student.written(draft)
    found = _Judged.of(learned, written)
    return _Judged([written[row] for row in rows], found.agreement[rows])


def _picks(
    learned: Learned, rows: IntArray, pairs: Pairs, first: FloatArray, second: FloatArray
) -> tuple[Picks, FloatArray]:
    """Fit what picks a record; return it, and the log odds of both of each row out of fold."""
    places = learned.learning.material.places[rows] // FOLDS % INNER
    models: list[Agreement] = []
    odds = []
    for agreement in (first, second):
        models.append(fit_agreement(pairs.features, agreement))
        found = out_of_fold_confidence(pairs.features, agreement, places)
        odds.append(np.clip(np.log(found / (1 - found)), -CLIP, CLIP))
    return Picks(*models), np.stack(odds, axis=1)


def _pays(learned: Learned, first: _Judged, half: IntArray, pairs: Pairs) -> bool:
    """Whether the surer of two records ranks better than that of heads and tagger alone."""
    places = learned.learning.material.places[half] // FOLDS % INNER
    second = _second(learned, half, pairs)
    alone = first.agreement[half]
    able = np.stack((first.able[half], second.able), axis=1)
    _, logits = _picks(learned, half, pairs, alone, second.agreement)
    _, features = chosen(pairs, logits, able)
    joint = np.where(features[:, -1] > 0, second.agreement, alone)
    before, after = (
        risk_coverage_area(out_of_fold_confidence(told, agreement, places), agreement)
        for told, agreement in ((learned.features[half], alone), (features, joint))
    )
    pays = after <= (1 - WORTH) * before
    _log.info(
        "training the encoder on records: out of fold %.1f%% are right, before %.1f%%; mean "
        "disagreement over all shares answered %.3f%%, before %.3f%%; it %s",
        *(100 * joint.mean(), 100 * alone.mean(), 100 * after, 100 * before),
        "pays" if pays else "does not pay",
    )
    return pays
