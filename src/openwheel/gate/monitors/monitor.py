"""What every monitor is: a sequential test of audited answers that may be looked at at any time."""

from typing import Any, NamedTuple, Protocol, Self

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Counts(msgspec.Struct, frozen=True):
    """What a monitor has seen.

    Attributes:
        answers: Audited answers.
        loss: The sum of their losses.
        weight: The sum of their weights, ``floor / probability``.
        weighted_loss: The sum of weight times loss.
    """

    answers: int = 0
    loss: float = 0.0
    weight: float = 0.0
    weighted_loss: float = 0.0

    @property
    def rate(self) -> float | None:
        """The weighted mean loss, None if nothing was seen."""
        return self.weighted_loss / self.weight if self.answers else None

    def plus(self, loss: float, weight: float) -> "Counts":
        """Return the counts with one more answer."""
        return Counts(
            self.answers + 1,
            self.loss + loss,
            self.weight + weight,
            self.weighted_loss + weight * loss,
        )


class Monitor(Protocol):
    """A sequential test of audited answers, a frozen struct: an update returns another.

    Losses are in [0, 1], 0 where the student's answer agrees. Of each audited answer the monitor
    is told the probability with which it was audited.

    **When no weights are needed.** Let the probability depend on the past alone (the task's budget,
    the hour, earlier audits). Then the coin tells nothing of the request, an audited answer has the
    mean loss of any answer at that time, and every audited answer counts alike, however the
    probability moves. Leave ``floors`` out.

    **When they are.** Let it depend on the request too (its slice, the student's confidence). Then
    what is audited is not like what is answered. Give as ``floors`` the least probability that any
    answered request could have had at that time, fixed before the request came: an answer weighs
    ``floor / probability``, and what is tested is the mean over all answered requests. An answer
    that was ten times as likely to be audited as the least likely one is a tenth of the evidence.

    In both cases the coin is flipped before the loss is known, and whoever sets the probability may
    have looked at all that was audited before.
    """

    @property
    def seen(self) -> Counts:
        """Counts so far."""

    @property
    def alarmed_at(self) -> int | None:
        """How many answers had been seen at the alarm, None if there was none."""

    @property
    def alarm(self) -> bool:
        """Whether it ever raised an alarm: an alarm stays."""

    @property
    def evidence(self) -> float:
        """The logarithm of what has been won against "nothing is wrong"; finite."""

    @property
    def limit(self) -> float:
        """What the evidence must reach for an alarm."""

    def update(self, losses: Any, probabilities: Any = 1.0, floors: Any = None) -> Self:
        """Return the monitor after more audited answers, in order.

        Args:
            losses: In [0, 1]: a number, or shape (n,).
            probabilities: With which each was audited, in (0, 1].
            floors: The least probability that any answered request could have had at that time, at
                most the probability; None where it did not depend on the request.

        Raises:
            ValueError: A number is out of its range.
        """


class Audited(NamedTuple):
    """Audited answers, checked."""

    losses: FloatArray
    weights: FloatArray


def audited(losses: Any, probabilities: Any = 1.0, floors: Any = None) -> Audited:
    """Return losses and weights of audited answers, shape (n,), as :meth:`Monitor.update` takes.

    Raises:
        ValueError: A number is out of its range, or there are not as many of one as of the other.

    Examples:
        >>> audited([0, 1], [0.5, 0.1], 0.1).weights.tolist()
        [0.2, 1.0]
    """
    values = np.atleast_1d(np.asarray(losses, np.float64))
    chance = np.asarray(probabilities, np.float64)
    least = chance if floors is None else np.asarray(floors, np.float64)
    _require("a loss", "in [0, 1]", values, (values >= 0) & (values <= 1))
    _require("a probability", "in (0, 1]", chance, (chance > 0) & (chance <= 1))
    _require(
        "a floor", "above 0 and at most its probability", least, (least > 0) & (least <= chance)
    )
    try:
        weights = np.broadcast_to(least / chance, values.shape)
    except ValueError as error:
        raise ValueError(
            f"probabilities and floors must be one number or one for each of {values.size} losses, "
            f"were of shape {np.shape(probabilities)} and {np.shape(floors)}"
        ) from error
    return Audited(values, weights)


def require_share(name: str, value: float) -> None:
    """Raise a ValueError unless the value is in (0, 1)."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1), was {value:g}")


def _require(name: str, expected: str, values: FloatArray, good: Any) -> None:
    if not np.all(good):
        wrong = np.broadcast_to(values, np.shape(good))[~np.asarray(good)]
        raise ValueError(f"{name} must be {expected}, was {wrong.flat[0]:g}")
