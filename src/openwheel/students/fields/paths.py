"""Which of a tagger's best paths is taken: one whose fields and text training had is likelier.

A tagger looks at a few words at once. What a record is like as a whole, its set of fields and its
text without the values, tells among its best paths (Collins and Koo, 2005, "Discriminative
reranking for natural language parsing", do so with parses).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openwheel.students.fields.align import Tag, spans_of
from openwheel.students.fields.crf import Decoded
from openwheel.students.fields.dependent import evidently_better
from openwheel.students.fields.drafts import Seen, signature_of, template_of

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FEATURES = 6
FEWEST = 100
"""Records with several paths and the right one among them; fewer do not tell how to choose."""


def whole_of(
    found: Decoded,
    tags: Sequence[Tag],
    hashes: Sequence[int],
    *,
    type_hash: int,
    seen: Seen,
    own: tuple[int, int] | None,
) -> FloatArray:
    """Return what tells among the best paths of a text, shape (paths, 6).

    Args:
        found: The best path, and others.
        tags: What the tagger's tags mean.
        hashes: Of the text's words.
        type_hash: Hash of its record's type.
        seen: What training had.
        own: Signature and template of this very text where it is of training: they do not count.
    """
    rows = []
    for path in (found, *found.others):
        spans = [
            (span.field, span.first, span.last)
            for span in spans_of([tags[tag] for tag in path.tags], path.marginals.tolist())
        ]
        signature, template = signature_of(type_hash, spans), template_of(hashes, spans)
        signatures = seen.signatures.get(signature, 0) - bool(own and own[0] == signature)
        templates = seen.templates.get(template, 0) - bool(own and own[1] == template)
        rows.append(
            (
                path.logprob - found.logprob,
                np.log1p(signatures),
                np.log1p(templates),
                len(spans),
                signatures > 0,
                templates > 0,
            )
        )
    return np.array(rows, np.float64)


def take(found: Decoded, scores: FloatArray) -> Decoded:
    """Return the path with the highest score; by how much that leads is its lead from then on.

    Args:
        found: The best path, and others.
        scores: Of each, shape (paths,).
    """
    at = int(np.argmax(scores))
    path = found if at == 0 else found.others[at - 1]
    if len(scores) == 1:
        return path._replace(others=())
    lead = float(scores[at] - np.delete(scores, at).max())
    return path._replace(second=path.logprob - lead, others=())


def learn_choice(
    wholes: Sequence[FloatArray], right: IntArray, folds: IntArray
) -> tuple[FloatArray | None, list[FloatArray]]:
    """Learn to choose among the best paths of texts, if that is evidently better than the best.

    Args:
        wholes: What tells among the paths of each text, out of fold.
        right: Which path is right, -1 where none is, shape (n,).
        folds: Of each text, shape (n,).

    Returns:
        The weights, None if the tagger's best path is to be taken; and the scores of each text's
        paths by weights learned from other folds.
    """
    several = np.array([len(whole) > 1 for whole in wholes], np.bool_) & (right >= 0)
    if min(((several & (folds != fold)).sum() for fold in np.unique(folds)), default=0) < FEWEST:
        return None, []
    scores = [np.zeros(0)] * len(wholes)
    for fold in np.unique(folds):
        weights = _fit(wholes, right, np.flatnonzero(several & (folds != fold)))
        for i in np.flatnonzero(folds == fold).tolist():
            scores[i] = wholes[i] @ weights
    chosen = np.array([score.argmax() for score in scores])
    if not evidently_better(right == 0, right == chosen):
        return None, []
    return _fit(wholes, right, np.flatnonzero(several)), scores


def _fit(wholes: Sequence[FloatArray], right: IntArray, rows: IntArray) -> FloatArray:
    """Return weights by which right paths come before the others, by logistic regression."""
    # Only training needs scikit-learn; a gateway must not wait for it.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    pairs = [(wholes[i], int(right[i])) for i in rows.tolist()]
    apart = np.concatenate([np.delete(whole[at] - whole, at, axis=0) for whole, at in pairs])
    model = LogisticRegression(fit_intercept=False)
    model.fit(np.concatenate((apart, -apart)), np.repeat([1, 0], len(apart)))
    return np.asarray(model.coef_[0], np.float64)
