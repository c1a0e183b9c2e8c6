"""The state of one task's part of a turn, which its steps read and change."""

import msgspec
import numpy as np

from openwheel.gate import Certificate
from openwheel.loop.audit.records import SliceChange
from openwheel.loop.data import TaskData
from openwheel.loop.records import Candidate, Event, Kind, Promotion
from openwheel.loop.registry import Registry
from openwheel.loop.subject import Subject
from openwheel.progress import Progress


class Changes(msgspec.Struct, frozen=True):
    """Changes for the worse, after which older evidence and labels count less.

    Attributes:
        after: The latest of all the task's traffic, or of its teacher, came after this exchange; 0
            if there was none.
        slices: Those of one slice each that came later.
        off: Those of them whose slices are still off.
    """

    after: int = 0
    slices: tuple[SliceChange, ...] = ()
    off: tuple[SliceChange, ...] = ()


class TaskState(msgspec.Struct, kw_only=True):
    """One task's part of a turn.

    Attributes:
        registry: Of the store.
        subject: The task.
        progress: Called with each step.
        data: The task's exchanges.
        events: The events so far.
        over: Whether the task's part of the turn is over.
        promotion: The task's promotion.
        shadow: The shadowing student.
        changes: The changes for the worse.
        trained_on: Labelled exchanges at the last training; 0 where it may train at once.
        to_beat: The coverage that a new student has to exceed.
        one_look: Whether exchanges were held out that judge the shadow at one look.
    """

    registry: Registry
    subject: Subject
    progress: Progress
    data: TaskData
    events: list[Event]
    over: bool = False
    promotion: Promotion | None = None
    shadow: Candidate | None = None
    changes: Changes = Changes()
    trained_on: int = 0
    to_beat: float = 0.0
    one_look: bool = False

    @property
    def name(self) -> str:
        """The task's name."""
        return self.subject.record.task.name

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.subject.record.task.id

    @property
    def certificate(self) -> Certificate | None:
        """The promoted student's certificate, None if there is none."""
        return self.promotion.certificate if self.promotion is not None else None

    @property
    def expected_promotion(self) -> int:
        """The row of the task's latest promotion or demotion when it was decided on, 0 for none."""
        return self.promotion.id if self.promotion is not None else 0

    @property
    def newest(self) -> int:
        """The newest exchange there is."""
        return int(self.data.seq.max(initial=0))

    @property
    def labelled(self) -> int:
        """How many exchanges may be learned from."""
        return int(np.count_nonzero(self.data.trains))

    def tell(self, kind: Kind, reason: str) -> None:
        """Add an event."""
        self.events.append(Event(self.name, kind, reason))

    def end(self, kind: Kind, reason: str) -> None:
        """Add the last event, and end the task's part of the turn."""
        self.tell(kind, reason)
        self.over = True
