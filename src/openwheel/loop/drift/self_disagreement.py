"""Measures the teacher's disagreement with itself, and notices when it jumps."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from openwheel.gate.monitors import ConfidenceSequence, JumpDetector
from openwheel.loop.drift.versions import Version
from openwheel.store import Store, Transaction, drift
from openwheel.wire import ApiName, Reply

AskAgain = Callable[[ApiName, bytes], Awaitable[tuple[Reply, str]]]
"""Sends a request's body once more, not streamed; returns the answer and the endpoint's name, and
raises TeacherError."""

ConnectAgain = Callable[[], AbstractAsyncContextManager[AskAgain]]
"""Opens connections to the teachers that belong to the running event loop, until its block ends."""

BASELINE = 100
"""Second answers from which the usual rate is learned, before a jump can be noticed."""

EAGER = 5.0
"""The factor of the share until then: the usual rate must be known before it changes."""

RUN_LENGTH = 100_000.0
"""Second answers until a false alarm, at least on average."""

MOST_OWED = 20.0
"""The most second answers to catch up on after the teacher could not be asked."""


DAY = 86_400.0


class SelfDisagreement(msgspec.Struct, frozen=True, kw_only=True):
    """The disagreement of one task's teacher with itself, since it last changed.

    Attributes:
        id: Of this measurement: an answer that was asked for before it began is dropped.
        cursor: The teacher's answers up to this exchange were counted.
        owed: Second answers to ask for.
        detector: Notices a jump.
        live: The rate, for people.
        failed: Times it could not be asked.
    """

    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(6))
    cursor: int
    owed: float = 0.0
    detector: JumpDetector = msgspec.field(
        default_factory=lambda: JumpDetector(RUN_LENGTH, baseline=BASELINE)
    )
    live: ConfidenceSequence
    failed: int = 0

    @property
    def learning(self) -> bool:
        """Whether the usual rate is still unknown."""
        return self.detector.seen.answers < self.detector.baseline

    def owing(self, answers: int, share: float, *, cursor: int) -> "SelfDisagreement":
        """Return the state after the teacher has given more answers.

        Examples:
            >>> twice = SelfDisagreement(cursor=0, live=ConfidenceSequence(0.05))
            >>> round(twice.owing(30, 0.01, cursor=30).owed, 9)
            1.5
        """
        rate = min(share * EAGER, 1.0) if self.learning else share
        owed = min(self.owed + rate * answers, MOST_OWED)
        return msgspec.structs.replace(self, owed=owed, cursor=max(cursor, self.cursor))

    def asked(self, loss: float | None) -> "SelfDisagreement":
        """Return the state after the teacher was asked once more.

        Args:
            loss: How far its answer is from the first, from 0 to 1; None if it gave none.
        """
        owed = max(self.owed - 1.0, 0.0)
        if loss is None:
            return msgspec.structs.replace(self, owed=owed, failed=self.failed + 1)
        return msgspec.structs.replace(
            self,
            owed=owed,
            detector=self.detector.update([loss]),
            live=self.live.update([loss]),
        )

    @property
    def reason(self) -> str:
        """Describe a jump in a sentence."""
        seen, (low, high) = self.detector.seen, self.detector.range
        return (
            f"the teacher changed behind its name: asked again, it disagreed with itself on "
            f"{seen.loss:g} of {seen.answers:,}; by the first {self.detector.baseline} between "
            f"{low:.1%} and {high:.1%} was usual"
        )


class SecondAnswer(msgspec.Struct, frozen=True):
    """One request that the teacher was asked twice.

    Attributes:
        seq, exchange: Of the exchange with the first answer.
        loss: How far the second is from it, from 0 to 1.
        version: The version that gave the second.
        dollars: The cost of the second.
    """

    seq: int
    exchange: str
    loss: float
    version: Version
    dollars: float


def read_self_disagreement(store: Store, task_id: str) -> SelfDisagreement | None:
    """Return the self-disagreement of a task's teacher, None if no measurement has begun."""
    with store.read() as transaction:
        return find_self_disagreement(transaction, task_id)


def all_self_disagreement(store: Store) -> dict[str, SelfDisagreement]:
    """Return the self-disagreement of every task that has one, by the task's id."""
    with store.read() as transaction:
        return drift.read_asked(transaction, SelfDisagreement)


def find_self_disagreement(transaction: Transaction, task_id: str) -> SelfDisagreement | None:
    """Return the self-disagreement of a task's teacher, inside the caller's transaction."""
    return drift.find_asked(transaction, SelfDisagreement, task_id)


def write_self_disagreement(
    transaction: Transaction, task_id: str, twice: SelfDisagreement
) -> None:
    """Keep a task's self-disagreement, inside the caller's transaction."""
    drift.put_asked(transaction, task_id, twice, cursor=twice.cursor)


def day_of(now: float) -> float:
    """Return when the day of ``now`` began, by UTC, in seconds since 1970."""
    return now // DAY * DAY


def second_answers_cost(store: Store, task_id: str, *, since: float = 0.0) -> float:
    """Return the cost of a task's second answers since a time, in dollars."""
    return second_answers_costs(store, since=since, task_id=task_id).get(task_id, 0.0)


def second_answers_costs(
    store: Store, *, since: float = 0.0, task_id: str = ""
) -> dict[str, float]:
    """Return the same of each task, by its id; of one alone where it is named."""
    with store.read() as transaction:
        return drift.second_answers_cost(transaction, since=since, task_id=task_id)
