"""Decides whether training the encoder on a task pays, on inputs that it has not seen.

Vectors of a text by a body that was trained on it reveal its answer, so a head fitted and judged on
them would look far better than it is. Each fold of the inputs therefore has a body of its own that
has not seen it, and the student's body, trained on all, answers none of them.
"""

import logging
import tempfile

import numpy as np
import numpy.typing as npt

from openwheel.errors import OperatorError
from openwheel.progress import Progress, Step, lasting, silent
from openwheel.students.agreement import fit_precision, out_of_fold_confidence
from openwheel.students.cores import alone_is_better, predict, unseen
from openwheel.students.encoder import TextEncoder
from openwheel.students.material import Material
from openwheel.students.ngrams import LONGEST_TEXT
from openwheel.students.tune.order import At, Event, Order, Tune
from openwheel.students.tune.tuning import Tell, Tuning, carrying_out

_log = logging.getLogger("openwheel.students")

FOLDS, INNER = 2, 5
"""Each fold has a body beside the student's own. More folds would have better bodies, trained on
more, and cost more."""

ROOM = 0.025
"""Least share of disagreement for an attempt: training takes off a part of it, never all."""

WORTH = 0.1
"""Share by which it must lower the area under the risk-coverage curve of the first fold."""

FEWEST_TEXTS = 200
"""Texts to train on; with fewer the gate has no use for a better student either."""

MEASURED_S = 5.0
"""Seconds of training, or a tenth of its steps, after which it is said how long it takes."""

WITHOUT = 'tune_encoder = "never" goes without'
"""How not to wait for it."""

MOST_TEXTS, MOST_CHARACTERS = 10_000, 600_000
"""The latest texts up to these limits train the encoder: ten minutes of two processors."""


def tuned(
    material: Material,
    joined: Material,
    answers: int,
    encoder: TextEncoder,
    tune: Tune,
    *,
    agreement: float,
    progress: Progress = silent,
) -> tuple[Material, TextEncoder] | None:
    """Train an encoder on a task, if it pays.

    Args:
        material: The task's inputs, with vectors by the encoder as it is.
        joined: The material with n-grams, which may suit the trained encoder though not this one.
        answers: How many answers there are.
        encoder: The encoder as it is.
        tune: How to train, and whether in any case.
        agreement: The out-of-fold agreement of the encoder as it is.
        progress: Called before the training begins, with its estimated time, and with its progress.

    Returns:
        The material with vectors by the trained encoder, and that encoder; None where it does not
        pay or was not possible.
    """
    labels = np.where(within_limits(material), material.labels, -1)
    learned = int((labels >= 0).sum())
    if learned < FEWEST_TEXTS or (1 - agreement < ROOM and not tune.always):
        return None
    folds = material.places % FOLDS
    progress(f"training the encoder on {learned:,} texts; {WITHOUT}")
    try:
        with (
            Step(progress, f"training the encoder ({WITHOUT})", unit="steps") as step,
            tempfile.TemporaryDirectory(prefix="openwheel-tune-") as folder,
        ):
            order = Order(
                folder=folder,
                encoder=encoder.name,
                texts=tuple(material.texts),
                answers=answers,
                labels=tuple(labels.tolist()),
                weights=tuple(material.weights.tolist()),
                folds=tuple(folds.tolist()),
                deadline_s=tune.deadline_s,
                recipe=tune.recipe,
            )
            with carrying_out(order, following(step, progress, tune.deadline_s)) as tuning:
                material, joined = (each._replace(folds=folds) for each in (material, joined))
                return _judged(material, joined, answers, tuning, tune)
    except (OperatorError, OSError) as error:
        _log.warning("the encoder stays as it is: %s", error)
        return None


def following(step: Step, progress: Progress, deadline_s: float) -> Tell:
    """Return a callback that follows the training process, and reports its time once."""
    said = False

    def tell(event: Event) -> None:
        nonlocal said
        if not isinstance(event, At):
            return
        step(event.done, event.total)
        if not said and (event.seconds >= MEASURED_S or event.done >= event.total / 10):
            said = True
            whole = event.seconds * event.total / event.done
            late = f", more than the {lasting(deadline_s)} that tune_time allows"
            progress(
                f"training the encoder takes about {lasting(whole)}"
                + (late if 0 < deadline_s < whole else ", less if it turns out not to pay")
                + f"; {WITHOUT}"
            )

    return tell


def _judged(
    material: Material, joined: Material, answers: int, tuning: Tuning, tune: Tune
) -> tuple[Material, TextEncoder] | None:
    """Judge the first fold, and wait for the others if training pays."""
    before = _area(material, answers)
    looked_at = joined._replace(by_fold=(tuning.fold(0),))
    if alone_is_better(looked_at, answers):
        looked_at = looked_at._replace(counts=None)
    after = _area(looked_at, answers)
    pays = after <= (1 - WORTH) * before
    _log.info(
        "training the encoder: mean disagreement over all shares answered, on inputs not seen, "
        "%.3f%%, before %.3f%%; it %s",
        *(100 * after, 100 * before, "pays" if pays else "does not pay"),
    )
    if not pays and not tune.always:
        return None
    by_fold = tuple(tuning.fold(fold) for fold in range(FOLDS))
    encoder, (vectors, prototypes) = tuning.whole()
    return (
        looked_at._replace(vectors=vectors, prototypes=prototypes, by_fold=by_fold),
        encoder,
    )


def _area(material: Material, answers: int) -> float:
    """Return the area under the risk-coverage curve on the first fold, predicted by the others."""
    first = material.folds == 0
    testing = np.flatnonzero(first)
    evidence = predict(unseen(material, 0), np.flatnonzero(~first), testing, answers)
    agrees = evidence.labels == material.labels[testing]
    counts = np.bincount(material.labels[material.labels >= 0], minlength=answers)
    # Inner folds, by input as the outer ones are.
    inner = material.places[testing] // FOLDS % INNER
    _, own = fit_precision(evidence.labels, agrees, counts, inner)
    features = np.concatenate((evidence.features, own), axis=1)
    confidence = out_of_fold_confidence(features, agrees, inner)
    return risk_coverage_area(confidence, agrees.astype(np.float64))


def risk_coverage_area(
    confidence: npt.NDArray[np.float64], agreement: npt.NDArray[np.float64]
) -> float:
    """Return the disagreement among the answered, averaged over all shares that may be answered.

    Source: Geifman et al. (2019), "Bias-reduced uncertainty estimation".
    """
    wrong = 1 - agreement[np.argsort(-confidence, kind="stable")]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def within_limits(material: Material) -> npt.NDArray[np.bool_]:
    """Return which texts train an encoder: of those with a label, the latest within the limits."""
    lengths = np.array([min(len(text), LONGEST_TEXT) for text in material.texts])
    learned = np.flatnonzero(material.labels >= 0)[::-1]
    latest = learned[:MOST_TEXTS]
    found = np.zeros(len(material.texts), np.bool_)
    found[latest[np.cumsum(lengths[latest]) <= MOST_CHARACTERS]] = True
    return found
