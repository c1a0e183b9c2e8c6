"""Fits the guard by leaving answers out of training.

Novelty is learned from the task itself. Some answers are left out of training, in turn. The model's
evidence on their inputs is an example of requests for an unknown answer; its evidence on other
unseen inputs is an example of known ones. There is no other data on future requests (Fei and Liu,
2016, "Breaking the closed world assumption in text classification", name the problem).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.students.agreement import Agreement, fit_agreement
from openwheel.students.cores import predict, unseen
from openwheel.students.evidence import Evidence, join
from openwheel.students.guard import Guard
from openwheel.students.material import Material

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

GROUPS = 4
"""Groups of answers, of which each is left out once: as many further fits."""

FEWEST_ANSWERS = 3
"""With fewer there is none to leave out: a model of one answer has nothing to compare."""

KEPT, KEPT_WITH_VECTORS, CONFIDENT = 0.965, 0.95, 0.7
"""Shares let through of the held-out training inputs that were answered rightly and with at least
a confidence: what would be answered anyway, so that the guard costs at most a twentieth of it.
With the floor it may cost six points of coverage, which it comes near to where all is answered. By
`benchmarks/novelty.py --develop` 0.965 costs the linear rung 5 points on SNIPS, 0.95 costs 6.5."""

KEPT_ALONE = 0.99
"""The same where no answer could be left out, so that nothing is known of how novelty looks."""


class LeftOut(NamedTuple):
    """The evidence of cores without some answers on inputs that they had not seen.

    Attributes:
        evidence: Of those inputs.
        novel: Which of them had an answer that was left out, shape (n,).
        groups: Which group of answers was left out, shape (n,).
    """

    evidence: Evidence
    novel: BoolArray
    groups: IntArray


def leave_out(material: Material, answers: int) -> LeftOut | None:
    """Fit a core without each group of answers; None if there are too few to leave any out.

    Each core is also fitted without one fold, whose other inputs are examples of known ones. If the
    encoder was trained on the task, its body for that fold has seen the left-out answers of other
    folds: novel inputs then look a little stranger than future ones will.
    """
    if answers < FEWEST_ANSWERS:
        return None
    counts = np.bincount(material.labels[material.labels >= 0], minlength=answers)
    # By number of examples, so that no group has all of the frequent answers.
    group_of = np.zeros(answers, np.int64)
    group_of[np.argsort(-counts, kind="stable")] = np.arange(answers) % GROUPS
    groups = np.where(material.labels >= 0, group_of[material.labels], -1)
    folds = int(material.folds.max()) + 1
    parts, novel, of = [], [], []
    for group in range(min(GROUPS, answers)):
        here, left = material.folds == group % folds, groups == group
        fitting = np.flatnonzero(~here & ~left)
        # An encoder trained on the task has seen all but its fold.
        testing = np.flatnonzero(here if material.by_fold else here | left)
        if not len(testing) or not (material.labels[fitting] >= 0).any():
            continue
        parts.append(predict(unseen(material, group % folds), fitting, testing, answers))
        # An answer too rare to learn is unknown too.
        novel.append((left | (groups < 0))[testing])
        of.append(np.full(len(testing), group))
    if not parts or not np.concatenate(novel).any():
        return None
    return LeftOut(join(parts), np.concatenate(novel), np.concatenate(of))


def fit_guard(
    left_out: LeftOut | None,
    evidence: Evidence,
    agrees: BoolArray,
    confidence: FloatArray,
    *,
    vectors: bool,
) -> Guard:
    """Fit a guard.

    Args:
        left_out: Examples of novel inputs; None: then the inputs least similar to training count as
            novel.
        evidence: Of training inputs predicted out of fold by cores with all answers, which set
            the limit.
        agrees: Whether those predictions were right.
        confidence: Of those predictions, out of fold too.
        vectors: Whether inputs have sentence vectors.
    """
    if left_out is None:
        width = evidence.features.shape[1] + evidence.strangeness.shape[1]
        similarity = np.zeros(width)
        similarity[-1] = -1.0
        model = Agreement(np.zeros(width), np.ones(width), similarity, 0.0)
    else:
        model = _fit(left_out, np.ones(len(left_out.novel), np.bool_))
    guard = Guard(model, 1.0)
    right = agrees & (confidence >= CONFIDENT)
    if not right.any():
        return guard
    kept = KEPT_WITH_VECTORS if vectors else KEPT
    if left_out is None:
        kept = KEPT_ALONE
    novelty = guard.novelty(evidence)[right]
    return guard._replace(limit=float(np.quantile(novelty, kept, method="higher")))


def deferred(left_out: LeftOut, guard: Guard) -> BoolArray:
    """Return which inputs with a left-out answer the guard defers, shape (number of novel ones,).

    Each is judged by a model that has not seen its group of answers, at the guard's limit.
    """
    found = np.zeros(len(left_out.novel), np.bool_)
    for group in np.unique(left_out.groups):
        here = left_out.groups == group
        others = guard._replace(model=_fit(left_out, ~here))
        found[here] = others.defers(left_out.evidence.take(here))
    return found[left_out.novel]


def _fit(left_out: LeftOut, rows: BoolArray) -> Agreement:
    evidence = left_out.evidence
    features = np.concatenate((evidence.features, evidence.strangeness), axis=1)
    return fit_agreement(features[rows], left_out.novel[rows])
