"""One task's part of a turn, as it stands: what its steps read and change."""

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
    """Changes for the worse, after which evidence and labels of before count less.

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
        progress: Told what is being done.
        data: The task's exchanges.
        events: What was done.
        over: Whether nothing is left to be done.
        promotion: Who is in front of the task's traffic, and by which row.
        shadow: Who shadows.
        changes: What changed for the worse.
        trained_on: Labelled exchanges at the last training; 0 where it may train at once.
        to_beat: The share of requests that a new student has to cover more than.
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
        """What the student in front of the traffic is certified for, None if there is none."""
        return self.promotion.certificate if self.promotion is not None else None

    @property
    def expected_promotion(self) -> int:
        """The row of the task's latest promotion or demotion when it was decided on, 0 for none.

        Where another one has come since, an audit or a person was quicker, and nobody is promoted.
        """
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
        """Note what was done."""
        self.events.append(Event(self.name, kind, reason))

    def end(self, kind: Kind, reason: str) -> None:
        """Note what was done last."""
        self.tell(kind, reason)
        self.over = True
