"""The rung ``lm`` in the loop: training on a task's exchanges, compared as the task's are."""

from collections.abc import Sequence
from pathlib import Path

from openwheel.loop.adapters import Adapters
from openwheel.loop.data import TaskData
from openwheel.loop.progress import Progress
from openwheel.settings import LmSection
from openwheel.students import Fitted
from openwheel.students.lm.fit import fit_lm
from openwheel.students.lm.order import Event, HeldOut, Note
from openwheel.students.lm.prompt import AnswerForm
from openwheel.tasks import Template
from openwheel.tasks.compare import Comparison, Pair
from openwheel.wire import Answer


def train_lm(
    training: TaskData,
    *,
    template: Template,
    form: AnswerForm,
    comparison: Comparison | None,
    settings: LmSection,
    variables: tuple[int, ...],
    adapters: Adapters,
    work: Path,
    progress: Progress,
) -> Fitted:
    """Train a student of the rung ``lm``.

    Args:
        training: Exchanges to train on.
        template: The task's.
        form: Of its answers.
        comparison: How answers are compared; None for equality of canonical answers.
        settings: The settings of the rung.
        variables: Which of the task's variables tell its inputs apart.
        adapters: Serves what was trained.
        work: Folder of the training run; one that was killed goes on there.
        progress: Told what is being done.

    Raises:
        ValueError: There is nothing to learn.
        ModelError: The base cannot be trained; the message says why.
        EngineError: What was trained cannot be asked.
    """

    def losses_of(rows: Sequence[int], texts: Sequence[str]) -> Sequence[float]:
        assert comparison is not None
        pairs = []
        for row, text in zip(rows, texts, strict=True):
            request = request_text(template, training.inputs[row])
            pairs.append(Pair(request, Answer(training.texts[row]), Answer(text)))
        return comparison.losses(pairs)

    def tell(event: Event) -> None:
        if isinstance(event, HeldOut):
            progress(f"lm: step {event.step}, held-out loss {event.loss:.4f}")
        elif isinstance(event, Note):
            progress(f"lm: {event.text}")

    return fit_lm(
        training.inputs,
        training.answers,
        template=template,
        form=form,
        settings=settings,
        variables=variables,
        surfaces=training.surfaces,
        work=work,
        serve=adapters.serve,
        losses_of=None if comparison is None else losses_of,
        tell=tell,
    )


def request_text(template: Template, inputs: tuple[str, ...]) -> str:
    """Return the request that has these inputs, as text, for whoever compares answers to it."""
    return "\n\n".join(part for part in template.render(inputs) if part)
