"""Maps the probabilities that a teacher gave onto a task's labels."""

from collections import Counter
from collections.abc import Mapping

from openwheel.loop.data import TaskData
from openwheel.tasks import FORMS, Form, answer_in, canonical_answer
from openwheel.wire.logprobs import MORE


def soft_labels(data: TaskData, form: Form, folds: tuple[str, ...]) -> dict[int, dict[str, float]]:
    """Return the probabilities of canonical answers, by row, where the teacher gave them.

    The beginning of an answer counts for the one label that begins so. If several do, they share
    its probability by how often each came, and if none does, it is left out: a row may have less
    than 1 in all.

    Args:
        data: To train on.
        form: Of its answers.
        folds: How these may differ and still be one.
    """
    if not FORMS[form].closed or not any(data.probabilities):
        return {}
    times = Counter(data.answers)
    known: dict[str, dict[str, float]] = {}
    found: dict[int, dict[str, float]] = {}
    for row, given in enumerate(data.probabilities):
        chances: dict[str, float] = {}
        for text, chance in given:
            if text not in known:
                known[text] = _labels_of(text, form, folds, times, data.surfaces)
            for label, share in known[text].items():
                chances[label] = chances.get(label, 0.0) + chance * share
        if chances:
            found[row] = chances
    return found


def _labels_of(
    text: str,
    form: Form,
    folds: tuple[str, ...],
    times: Mapping[str, int],
    surfaces: Mapping[str, str],
) -> dict[str, float]:
    """Return the labels that a text is or begins, and the share of it that each has."""
    whole = canonical_answer(answer_in(text, form), form, folds)
    if whole in times or not text.endswith(MORE):
        return {whole: 1.0}
    beginning = text.removesuffix(MORE)
    written = {label: surfaces.get(label, label) for label in times}
    labels = [label for label, shown in written.items() if shown.startswith(beginning)] or [
        label
        for label, shown in written.items()
        if shown.casefold().startswith(beginning.strip().casefold())
    ]
    total = sum(times[label] for label in labels)
    return {label: times[label] / total for label in labels} if beginning.strip() else {}
