"""The findings of a turn about each task: plain data for reports."""

import msgspec

from openwheel.gate import Compared

Point = tuple[float, float]


class Example(msgspec.Struct, frozen=True):
    """One calibration exchange: its input, the teacher's and the student's answer."""

    text: str
    teacher: str
    student: str
    confidence: float


class Bin(msgspec.Struct, frozen=True):
    """Calibration exchanges of like confidence: mean confidence, mean agreement, how many."""

    confidence: float
    agreement: float
    count: int


class Frontier(msgspec.Struct, frozen=True):
    """A threshold that was tested, and what a student would do there.

    Attributes:
        threshold: A student answers where its confidence is at least this.
        coverage, disagreement: On calibration exchanges.
        unknown: Share answered of requests whose answer the student was never taught, as
            estimated by leaving answers out of training; None where that was not possible.
        chosen: Whether this is the finding's threshold.
    """

    threshold: float
    coverage: float
    disagreement: float
    unknown: float | None
    chosen: bool


class Confusion(msgspec.Struct, frozen=True):
    """Counts among calibration exchanges: ``counts[i][j]`` teacher ``labels[i]``, student ``[j]``.

    Only the most confused labels; ``"(other)"`` collects the rest when there are more.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of one turn about one task.

    Attributes:
        task, name: Id and name.
        template: The prompt template, variables as ``{1}``, ``{2}``, ...
        form: ``label``, ``record``, ``tool_call``, ``text`` or ``unknown``.
        n: Exchanges of the task.
        certified: Whether a student passed the gate (or still holds an earlier certificate).
        rung, student, threshold, certificate: Of that student, else of the one that was tried.
        variables: Which of the template's variables it reads, from 1.
        n_calibration, answered, disagreements: Calibration counts at the threshold.
        loss: Sum of the losses there; None where each disagreement is a loss of 1.
        coverage, bound: At the threshold.
        epsilon, delta: The user's limit and risk; ``delta_spent`` is this attempt's share.
        attempt: Which attempt on this task it was; 0 if none was made.
        reason: In a sentence: why it was certified, or why not.
        more_needed: About how many more exchanges it would take; None if none would help, if that
            is not known, or if it is certified.
        compared: How answers were compared; None if they had to be equal.
        trade_off: (coverage, disagreement) on the calibration exchanges, strict to lax.
        expected: The same as training predicted it.
        frontier: Some of the thresholds, strict to lax, the finding's among them.
        learning_curve: (training inputs, out-of-fold agreement).
        reliability, confusion, deferred, disagreed: See their types; on calibration exchanges.
        warnings: Sentences the user should read.
    """

    task: str
    name: str
    template: str = ""
    form: str
    n: int
    certified: bool = False
    rung: str | None = None
    student: str | None = None
    certificate: str | None = None
    threshold: float | None = None
    variables: tuple[int, ...] = ()
    n_calibration: int = 0
    answered: int = 0
    disagreements: int = 0
    loss: float | None = None
    coverage: float = 0.0
    bound: float | None = None
    epsilon: float
    delta: float
    delta_spent: float = 0.0
    attempt: int = 0
    reason: str
    more_needed: int | None = None
    compared: Compared | None = None
    trade_off: tuple[Point, ...] = ()
    expected: tuple[Point, ...] = ()
    frontier: tuple[Frontier, ...] = ()
    learning_curve: tuple[Point, ...] = ()
    reliability: tuple[Bin, ...] = ()
    confusion: Confusion | None = None
    deferred: tuple[Example, ...] = ()
    disagreed: tuple[Example, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def by_fields(self) -> bool:
        """Whether losses are shares of wrong fields."""
        return self.compared is not None and self.compared.loss == "fields"

    @property
    def observed(self) -> float | None:
        """Mean loss of what was answered at the threshold, None if nothing was."""
        if self.answered <= 0:
            return None
        return (self.disagreements if self.loss is None else self.loss) / self.answered


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of one turn.

    Attributes:
        created: ISO 8601, UTC.
        version: Of Openwheel.
        source: The logs or the store that it read, in words.
        exchanges: How many exchanges there are, and how many belong to no task.
        tasks: One finding a task, largest first.
        warnings: Sentences the user should read, about the log as a whole.
    """

    created: str
    version: str
    source: str
    exchanges: int
    unassigned: int
    tasks: tuple[Finding, ...]
    warnings: tuple[str, ...] = ()
