"""The rung ``lm`` in the loop: training on a task's exchanges, compared as the task's are."""

import logging
from collections.abc import Sequence
from typing import cast

from openwheel.errors import EngineError
from openwheel.loop.adapters import adapter_name
from openwheel.loop.data import TaskData
from openwheel.loop.registry import Registry
from openwheel.loop.resources import Resources
from openwheel.loop.subject import Subject
from openwheel.progress import Progress
from openwheel.students import Fitted
from openwheel.students.files import ADAPTER
from openwheel.students.lm.fit import Extras, fit_lm
from openwheel.students.lm.order import Event, HeldOut, Note
from openwheel.students.lm.prompt import AnswerForm
from openwheel.tasks.compare import Pair
from openwheel.wire import Answer

_log = logging.getLogger(__name__)


def train_lm(
    subject: Subject, training: TaskData, variables: tuple[int, ...], progress: Progress
) -> Fitted:
    """Train a student of the rung ``lm``.

    Args:
        subject: The task, of a form that models learn.
        training: Exchanges to train on.
        variables: Which of the task's variables tell its inputs apart.
        progress: Told what is being done.

    Raises:
        ValueError: There is nothing to learn, or nobody to ask what was learned.
        ModelError: The base cannot be trained; the message says why.
        EngineError: What was trained cannot be asked.
    """
    template, comparison = subject.record.task.template, subject.comparison
    if template is None or subject.resources.adapters is None:
        raise ValueError("there is no prompt template to ask with, or no engine to ask")

    def losses_of(rows: Sequence[int], texts: Sequence[str]) -> Sequence[float]:
        assert comparison is not None
        pairs = []
        for row, text in zip(rows, texts, strict=True):
            request = subject.request_of(training.inputs[row])
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
        form=cast(AnswerForm, subject.record.form),
        settings=subject.settings.lm,
        variables=variables,
        surfaces=training.surfaces,
        work=subject.work,
        serve=subject.resources.adapters.serve,
        folds=subject.record.folds,
        losses_of=None if comparison is None else losses_of,
        extras=Extras(reasoning={i: said for i, said in enumerate(training.thoughts) if said}),
        tell=tell,
        progress=progress,
    )


def sweep_adapters(registry: Registry, resources: Resources) -> None:
    """Have the engine let go of adapters whose students are neither promoted nor shadowing."""
    if resources.adapters is None:
        return
    wanted = {found.id for found, _, _ in registry.candidates(state="shadow")}
    wanted |= {p.certificate.student for p in registry.promotions().values() if p.certificate}
    folders = [registry.folder(student) / ADAPTER for student in wanted]
    try:
        resources.adapters.sweep({adapter_name(folder) for folder in folders if folder.is_dir()})
    except (EngineError, OSError) as error:
        _log.warning("adapters that nobody needs stay loaded: %s", error)
