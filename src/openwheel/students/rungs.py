"""Registers the rungs: Openwheel's own, cheapest first, and those of installed packages.

A package adds a rung with an entry point in the group ``openwheel.rungs`` that names a `Rung`.
"""

import functools
import importlib.metadata
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from openwheel.errors import SettingError
from openwheel.progress import Progress
from openwheel.students.exact import ExactStudent, fit_exact
from openwheel.students.fields.student import is_of_records, load_fields
from openwheel.students.lm.order import Event, Note
from openwheel.students.lm.student import load_lm
from openwheel.students.model import load_encoder, load_linear
from openwheel.students.rung import Lesson, Rung, Saved
from openwheel.students.student import Fitted, Inputs, Student
from openwheel.students.tokens.student import load_tokens

ENTRY_POINTS = "openwheel.rungs"


# Training code is imported where it is called: a gateway loads students and trains none.


def _train_exact(lesson: Lesson) -> Fitted:
    return fit_exact(lesson.inputs, lesson.answers, variables=lesson.variables)


def _load_exact(saved: Saved) -> Student:
    return ExactStudent.from_state(saved.settings, saved.arrays)


def _train_linear(lesson: Lesson) -> Fitted:
    if lesson.form != "label":
        from openwheel.students.fields.fit import fit_fields  # noqa: PLC0415

        return fit_fields(lesson)
    from openwheel.students.fit import fit_model  # noqa: PLC0415

    return fit_model(
        lesson.inputs,
        lesson.answers,
        variables=lesson.variables,
        probabilities=lesson.probabilities,
    )


def _load_linear(saved: Saved) -> Student:
    return load_fields(saved) if is_of_records(saved) else load_linear(saved)


def _train_encoder(lesson: Lesson) -> Fitted:
    if lesson.form != "label":
        from openwheel.students.tokens.fit import fit_tokens  # noqa: PLC0415

        return fit_tokens(lesson)
    from openwheel.students.fit import fit_model  # noqa: PLC0415

    if lesson.encoder is None:
        raise ValueError("the rung encoder is trained with an encoder, and there is none")
    return fit_model(
        lesson.inputs,
        lesson.answers,
        variables=lesson.variables,
        encoder=lesson.encoder,
        tune=lesson.tune,
        probabilities=lesson.probabilities,
        progress=lesson.progress,
    )


def _load_encoder(saved: Saved) -> Student:
    return load_tokens(saved) if is_of_records(saved) else load_encoder(saved)


def _train_lm(lesson: Lesson) -> Fitted:
    from openwheel.students.lm.fit import Extras, fit_lm  # noqa: PLC0415

    if lesson.template is None or lesson.serve is None:
        raise ValueError("there is no prompt template to ask with, or no engine to ask")
    return fit_lm(
        lesson.inputs,
        lesson.answers,
        template=lesson.template,
        form=lesson.form,
        settings=lesson.lm,
        variables=lesson.variables,
        surfaces=lesson.surfaces,
        work=lesson.work,
        serve=lesson.serve,
        folds=lesson.folds,
        losses_of=lesson.losses_of,
        extras=Extras(reasoning=lesson.thoughts),
        tell=lambda event: _say(event, lesson.progress),
        progress=lesson.progress,
    )


def _say(event: Event, progress: Progress) -> None:
    if isinstance(event, Note):
        progress(f"lm: {event.text}")


EXACT = Rung(
    "exact",
    frozenset({"label", "record", "text"}),
    _train_exact,
    _load_exact,
    new_inputs=False,
)
# Format 2 of both: a guard learned by leaving answers out.
LINEAR = Rung(
    "linear",
    frozenset({"label", "record", "tool_call"}),
    _train_linear,
    _load_linear,
    format=2,
)
ENCODER = Rung(
    "encoder",
    frozenset({"label", "record", "tool_call"}),
    _train_encoder,
    _load_encoder,
    format=2,
    base="encoder",
    asked="thread",
)
LM = Rung(
    "lm",
    frozenset({"label", "record", "text"}),
    _train_lm,
    load_lm,
    base="lm",
    asked="remote",
)
OWN = (EXACT, LINEAR, ENCODER, LM)


@functools.cache
def rungs() -> Mapping[str, Rung]:
    """Return all rungs by name: Openwheel's own in order of cost, then those of other packages.

    Raises:
        SettingError: An installed package's rung cannot be loaded, or has the name of another.
    """
    known = {rung.name: rung for rung in OWN}
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            rung = point.load()
        except Exception as error:  # whatever another's package raises while it is imported
            raise SettingError(f"The rung {point.name} ({point.value}) fails: {error!r}") from error
        if not isinstance(rung, Rung):
            raise SettingError(
                f"The rung {point.name} ({point.value}) must be an openwheel.students.Rung, "
                f"it is a {type(rung).__name__}"
            )
        if rung.name in known:
            raise SettingError(f"There are two rungs {rung.name!r}; one is {point.value}")
        known[rung.name] = rung
    return MappingProxyType(known)


def train(rung: str, inputs: Sequence[Inputs], answers: Sequence[str], **more: Any) -> Fitted:
    """Train a student of a rung on inputs in order and canonical answers; ``more`` of a `Lesson`.

    Raises:
        ValueError: There is nothing to learn, or the rung is unknown or lacks its encoder.
    """
    if rung not in rungs():
        raise ValueError(f"rung must be one of {', '.join(rungs())}, was {rung!r}")
    return rungs()[rung].train(Lesson(inputs=inputs, answers=answers, **more))
