"""Training a student of a rung by name."""

from collections.abc import Sequence

from openwheel.progress import Progress, silent
from openwheel.students.encoder import TextEncoder
from openwheel.students.exact import fit_exact
from openwheel.students.student import Fitted, Inputs
from openwheel.students.tune.order import Tune

RUNGS = ("exact", "linear", "encoder", "lm")
"""Rungs in order of cost, cheapest first."""


def train(
    rung: str,
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    *,
    variables: tuple[int, ...],
    encoder: TextEncoder | None = None,
    tune: Tune | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Train a student.

    Args:
        rung: One of :data:`RUNGS` but ``lm``, which has `openwheel.students.lm.fit`.
        inputs: Values of the task's variables, in order of arrival.
        answers: The teacher's canonical answers.
        variables: Which of the variables are read.
        encoder: For the rung ``encoder``.
        tune: How to train the encoder on the task; by default it stays as it is.
        progress: Told of what takes long.

    Raises:
        ValueError: There is nothing to learn, or the rung is unknown or lacks its encoder.
    """
    if rung == "exact":
        return fit_exact(inputs, answers, variables=variables)
    # Here, since a gateway, which loads students and trains none, need not load what training does.
    from openwheel.students.fit import fit_model  # noqa: PLC0415

    if rung == "linear":
        return fit_model(inputs, answers, variables=variables)
    if rung == "encoder" and encoder is not None:
        return fit_model(
            inputs, answers, variables=variables, encoder=encoder, tune=tune, progress=progress
        )
    raise ValueError(f"rung must be one of {', '.join(RUNGS)} (encoder with one), was {rung!r}")
