"""What the registry keeps: tasks, candidates, events and turns."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from openwheel.gate import Compared, Plan, Window
from openwheel.gate.judge import Method
from openwheel.loop.accepted import Accepted
from openwheel.tasks import Form, Task
from openwheel.trust import Lineage

State = Literal["shadow", "refused", "certified", "replaced"]
Kind = Literal[
    "promoted",
    "demoted",
    "deferred",
    "shadowing",
    "waiting",
    "left",
    "vetoed",
    "changed",
    "trouble",
]


class TaskRecord(msgspec.Struct, frozen=True):
    """A task as the registry knows it.

    Attributes:
        task: The task.
        form: The form of its answers.
        folds: How these may differ and still be one, as `read_folds` returns it.
        form_reason: Why that form, in a sentence.
        attempts: How many students were judged ever.
        trained_on: Labelled exchanges at the last training, 0 if there was none.
    """

    task: Task
    form: Form
    form_reason: str
    attempts: int = 0
    trained_on: int = 0
    folds: tuple[str, ...] = ()


class Slicer(msgspec.Struct, frozen=True):
    """How a task's traffic is cut into slices.

    Attributes:
        variable: Index of the input whose value names the slice, None for one slice.
        known: Values seen in training; others are deferred.
        deferred: Values left to the teacher: training showed too much disagreement.
    """

    variable: int | None = None
    known: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()

    def slice_of(self, inputs: Sequence[str]) -> str:
        """Return the slice of an exchange, ``"all"`` where there is but one."""
        if self.variable is None or self.variable >= len(inputs):
            return "all"
        return inputs[self.variable]

    def defers(self, inputs: Sequence[str]) -> bool:
        """Whether the slice is unknown or left to the teacher."""
        if self.variable is None:
            return False
        name = self.slice_of(inputs)
        return name not in self.known or name in self.deferred

    def without(self, slices: Sequence[str]) -> "Slicer":
        """Return the same with more slices left to the teacher."""
        return msgspec.structs.replace(self, deferred=(*self.deferred, *slices))


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A trained student and all that is needed to judge and to serve it.

    Attributes:
        id: Of the student; its folder's name.
        task_id: Its task.
        rung: Its rung.
        files: sha256 of each of its files.
        attempt: Which attempt on its task it is.
        epsilon, delta, delta_spent: What it is judged by.
        plan: The thresholds to test.
        slicer: How its traffic is cut into slices.
        variables: Which of the task's variables it reads.
        surfaces: For each canonical answer, the bytes the teacher mostly wrote.
        trained_until: The newest exchange it may have seen; evidence comes after it.
        judged_after: Evidence comes after this exchange too: the teacher was another one before,
            or the task took other prompts.
        coverage: What training predicts it will be certified at.
        enough: Votes among calibration exchanges that should be enough for that.
        training: Hash and extent of what it was trained on.
        method: ``binomial`` if it is judged once (``betting`` where losses may lie between 0 and
            1), ``anytime`` if it shadows.
        accepted: The settings it may be asked with.
        form: The task's answer form when it was trained.
        folds: How answers could differ and still be one then.
        compare: By what two answers are compared, as ``compare`` of the task's settings has it.
        compared: The same as a certificate has it, with hashes; None for plain equality.
        lineage: What it was made of; None for students from before there were lineages.
        share: Share of ``delta_spent`` that its tests have; the rest is for others.
        matcher: `TaskMatcher.fingerprint` of its task: which prompts it is for; ``""`` for students
            from before that was kept.
        critical: The canonical answers that it leaves to the teacher where they may be due.
    """

    id: str
    task_id: str
    rung: str
    files: dict[str, str]
    attempt: int
    epsilon: float
    delta: float
    delta_spent: float
    plan: Plan
    slicer: Slicer
    variables: tuple[int, ...]
    surfaces: dict[str, str]
    trained_until: int
    coverage: float
    enough: int
    training: Window
    method: Method
    accepted: Accepted = Accepted(unknown=True)
    form: Form = "label"
    folds: tuple[str, ...] = ()
    compare: str = "exact"
    compared: Compared | None = None
    lineage: Lineage | None = None
    judged_after: int = 0
    share: float = 1.0
    matcher: str = ""
    critical: tuple[str, ...] = ()

    def compares(self, record: TaskRecord) -> bool:
        """Whether its answers are compared as those of its task are now."""
        return (self.form, self.folds) == (record.form, record.folds)

    def as_certified(self, record: TaskRecord) -> TaskRecord:
        """Return its task as it was when it was trained: so its promise is to be kept."""
        return msgspec.structs.replace(record, form=self.form, folds=self.folds)

    def made_of(self) -> Lineage:
        """Return what it was made of, as far as that was kept."""
        if self.lineage is not None:
            return self.lineage
        return Lineage(student=self.id, task=self.task_id, rung=self.rung, complete=False)


class Event(msgspec.Struct, frozen=True):
    """What a turn did about one task."""

    task: str
    kind: Kind
    reason: str


class Turn(msgspec.Struct, frozen=True):
    """What a turn did.

    Attributes:
        looked_at: The newest exchange it has seen; pass it to the next turn.
        events: What it did, a task each, in no order of weight.
    """

    looked_at: int
    events: tuple[Event, ...]
