"""Asks the teacher its earlier requests again, in a thread beside the learner.

A model that changes behind its name shows only if its earlier answers are compared with new ones:
asked twice in a row it would agree with itself.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator

import msgspec

from openwheel.errors import OpenwheelError, SettingError, TeacherError
from openwheel.gate.monitors import ConfidenceSequence
from openwheel.loop.audit.query import BYTES_A_TOKEN
from openwheel.loop.audit.records import latest_state
from openwheel.loop.data import decode_inputs
from openwheel.loop.drift.check import following
from openwheel.loop.drift.records import Change, add_told, recertify
from openwheel.loop.drift.self_disagreement import (
    ConnectAgain,
    SecondAnswer,
    SelfDisagreement,
    day_of,
    find_self_disagreement,
    second_answers_cost,
    write_self_disagreement,
)
from openwheel.loop.drift.versions import Version
from openwheel.loop.judging import TeacherJudge
from openwheel.loop.learner.background import in_background
from openwheel.loop.leases import ASKING, Leases, LeasesAlone
from openwheel.loop.records import Event, Promotion
from openwheel.loop.registry import Registry
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject, subject_of
from openwheel.store import Store, drift
from openwheel.store.exchanges import newest_seq
from openwheel.tasks.compare import Pair
from openwheel.wire import Answer, ApiName, Reply, Usage

EVERY = 2.0
"""Seconds between checks whether the teacher is due to be asked."""

LONGEST = 120.0
"""Seconds that an answer may take; a teacher that takes longer counts as one that gave none."""

REST = 30.0
LONGEST_REST = 3_600.0
"""Seconds to wait after a failure to ask a teacher; twice as long after each further one."""

FIRST_LIVE = 300
"""Live exchanges to draw from if a certificate's evidence is a log alone."""

WORTH_WRITING = 1_000
"""Up to this many new exchanges are counted again later, to save a write."""

BOTH_ORDERS = 2
"""Questions that a judge is asked about a pair."""

_STEP = 0.2
_DRAWS = 8


class Rests(msgspec.Struct):
    """How long to wait before a teacher that failed is asked again."""

    until: float = 0.0
    next: float = REST

    def after(self, *, failed: bool) -> None:
        """Note whether asking failed."""
        if not failed:
            self.until, self.next = 0.0, REST
            return
        self.until = time.monotonic() + self.next
        self.next = min(2 * self.next, LONGEST_REST)


class _First(msgspec.Struct, frozen=True):
    """A request with its first answer."""

    seq: int
    id: str
    api: ApiName
    request: bytes
    inputs: tuple[str, ...]
    answer: Answer


@contextlib.contextmanager
def asking_in_background(
    store: Store,
    settings: LoopSettings,
    *,
    tell: Callable[[list[Event]], None],
    resources: Resources,
    leases: Leases | None = None,
    every: float = EVERY,
) -> Iterator[None]:
    """Ask again in a thread until the block ends, if the settings want it and there is a teacher.

    ``tell`` is called with each event, from the thread. Of several learners one asks at a time.
    """
    connect = resources.connect_again
    if connect is None or not settings.ask_twice:
        yield
        return
    rights = LeasesAlone(store) if leases is None else leases
    rng = random.Random()
    rests: dict[str, Rests] = {}

    def look(over: Callable[[], bool]) -> None:
        with rights.held(ASKING) as lease:
            if lease is not None:
                registry = Registry(lease.store)
                tell(_Asking(registry, settings, resources, connect, rests, rng, over).look())

    failed = "The teacher could not be asked again"
    with in_background(look, name="openwheel-again", every=every, failed=failed):
        yield


def ask_again(
    registry: Registry,
    settings: LoopSettings,
    resources: Resources,
    *,
    rests: dict[str, Rests] | None = None,
    seed: int | None = None,
    over: Callable[[], bool] = lambda: False,
) -> list[Event]:
    """Ask the teachers of promoted tasks again as often as is due, and act on a jump.

    ``rests`` says, by a task's id, how long to wait after a failure; ``seed`` decides which
    requests are drawn; ``over`` returns whether to end at once.
    """
    if resources.connect_again is None or not settings.ask_twice:
        return []
    rng, rests = random.Random(seed), {} if rests is None else rests
    return _Asking(registry, settings, resources, resources.connect_again, rests, rng, over).look()


class _Asking(msgspec.Struct, frozen=True):
    """The parts that one look works with."""

    registry: Registry
    settings: LoopSettings
    resources: Resources
    connect: ConnectAgain
    rests: dict[str, Rests]
    rng: random.Random
    over: Callable[[], bool]

    def look(self) -> list[Event]:
        store, promotions = self.registry.store, self.registry.promotions()
        records = {record.task.id: record for record in self.registry.tasks()}
        events: list[Event] = []
        for task_id, promotion in promotions.items():
            if promotion.certificate is None or self.over():
                continue
            due = _due(store, promotion, self.settings.ask_twice)
            rest = self.rests.setdefault(task_id, Rests())
            if due is None or due.owed < 1 or time.monotonic() < rest.until:
                continue
            try:
                candidate = self.registry.candidate(promotion.certificate.student)
                record = candidate.as_certified(records[task_id])
                subject = subject_of(self.registry, record, self.settings, self.resources)
            except SettingError:
                continue  # turns and audits report it
            events += self._ask(subject, promotion, due, rest)
        return events

    def _spent(self, task_id: str, name: str) -> bool:
        """Whether the day's money for the task's audits is spent."""
        dollars = self.settings.dollars(name)
        if not dollars:
            return False
        store, now = self.registry.store, time.time()
        watched = latest_state(store, task_id)
        audits = watched.spending.today(now) if watched is not None else 0.0
        return audits + second_answers_cost(store, task_id, since=day_of(now)) >= dollars

    def _ask(
        self, subject: Subject, promotion: Promotion, due: SelfDisagreement, rest: Rests
    ) -> list[Event]:
        """Ask as often as is due; return the events."""
        for _ in range(int(due.owed)):
            name = subject.record.task.name
            if self.over() or self._spent(promotion.task_id, name):
                break
            try:
                second = self._second(subject, promotion)
            except OpenwheelError as error:
                if self.over():
                    break
                rest.after(failed=True)
                _note_failure(self.registry.store, promotion.task_id, due)
                reason = f"the teacher cannot be asked again: {error}"
                return [Event(name, "trouble", reason)]
            if second is None:
                break
            rest.after(failed=False)
            event = self._keep(subject, promotion, due, second)
            if event is not None:
                return [event]
        return []

    def _second(self, subject: Subject, promotion: Promotion) -> SecondAnswer | None:
        """Ask once; None if there is no request to ask, or a judge's budget is spent.

        Raises:
            OpenwheelError: The teacher, or a judge, could not be asked, or may not be.
        """
        judge = subject.comparison
        if isinstance(judge, TeacherJudge) and judge.left() < BOTH_ORDERS:
            return None
        first = _draw(self.registry.store, promotion, self.rng)
        if first is None:
            return None
        reply, teacher = asyncio.run(_answered(self.connect, first, self.over))
        loss = _loss(subject, first, reply.answer)
        read, written = self.settings.prices.get(teacher, (0.0, 0.0))
        tokens = reply.usage or Usage(
            len(first.request) // BYTES_A_TOKEN + 1, len(reply.answer.text) // BYTES_A_TOKEN + 1
        )
        return SecondAnswer(
            first.seq,
            first.id,
            loss,
            Version(teacher, reply.model, reply.fingerprint),
            (tokens.prompt_tokens * read + tokens.completion_tokens * written) / 1e6,
        )

    def _keep(
        self, subject: Subject, promotion: Promotion, due: SelfDisagreement, second: SecondAnswer
    ) -> Event | None:
        """Keep a second answer and its consequences, in one write."""
        task_id, name = promotion.task_id, subject.record.task.name
        assert promotion.certificate is not None
        candidate = self.registry.candidate(promotion.certificate.student)
        with self.registry.store.write() as transaction:
            twice = find_self_disagreement(transaction, task_id)
            if twice is None or twice.id != due.id:
                return None  # it changed meanwhile: this answer is compared with another teacher's
            drift.add_second_answer(
                transaction,
                task_id,
                seq=second.seq,
                exchange=second.exchange,
                answered_by=second.version,
                loss=second.loss,
                dollars=second.dollars,
            )
            twice = msgspec.structs.replace(
                twice.asked(second.loss), cursor=max(due.cursor, twice.cursor)
            )
            write_self_disagreement(transaction, task_id, twice)
            if not twice.detector.alarm:
                return None
            acts = "disagreement" in self.settings.recertify_on
            change = Change(
                kind="disagreement",
                version=second.version,
                after_seq=newest_seq(transaction),
                exchange=second.exchange,
                student=candidate.id if acts else "",
                did="demoted" if acts else "told",
                reason=twice.reason + following(promoted=True, acts=acts),
            )
            if not acts:
                add_told(transaction, task_id, change)
                drift.delete_asked(transaction, task_id)
                return Event(name, "changed", change.reason)
            if recertify(transaction, candidate, [change], promotion=promotion.id) is None:
                return None
        return Event(name, "demoted", change.reason)


def _due(store: Store, promotion: Promotion, share: float) -> SelfDisagreement | None:
    """Return how often the teacher is to be asked again, counting its new answers."""
    assert promotion.certificate is not None
    task_id = promotion.task_id
    with store.read() as transaction:
        twice = find_self_disagreement(transaction, task_id)
        # Exchanges that are not assigned to their task yet are counted once they are.
        newest = drift.newest_of(transaction, task_id)
    if twice is None:
        begun = SelfDisagreement(
            cursor=newest, live=ConfidenceSequence(promotion.certificate.epsilon)
        )
        with store.write() as transaction:
            if find_self_disagreement(transaction, promotion.task_id) is None:
                write_self_disagreement(transaction, promotion.task_id, begun)
        return None
    if newest <= twice.cursor:
        return twice
    with store.read() as transaction:
        answers = drift.count_answers(transaction, task_id, after=twice.cursor, until=newest)
    due = twice.owing(answers, share, cursor=newest)
    # The count is written before asking: a process killed meanwhile asks again.
    if due.owed >= 1 or newest - twice.cursor >= WORTH_WRITING:
        _settle(store, promotion.task_id, due)
    return due


def _settle(store: Store, task_id: str, due: SelfDisagreement) -> None:
    with store.write() as transaction:
        now = find_self_disagreement(transaction, task_id)
        if now is not None and now.id == due.id and now.cursor <= due.cursor:
            owed = msgspec.structs.replace(now, owed=due.owed, cursor=due.cursor)
            write_self_disagreement(transaction, task_id, owed)


def _note_failure(store: Store, task_id: str, due: SelfDisagreement) -> None:
    with store.write() as transaction:
        now = find_self_disagreement(transaction, task_id)
        if now is not None and now.id == due.id:
            write_self_disagreement(transaction, task_id, now.asked(None))


def _draw(store: Store, promotion: Promotion, rng: random.Random) -> _First | None:
    """Draw a request, with its answer, from the certificate's evidence.

    It is the next one after a random place. That is nearly uniform, and depends on no answer.
    """
    assert promotion.certificate is not None
    window = promotion.certificate.calibration_window
    for _ in range(_DRAWS):
        starts = (
            rng.randint(window.first_seq, max(window.first_seq, window.last_seq)),
            window.first_seq,
        )
        with store.read() as transaction:
            # A log names no model to ask for, and may be another teacher's: first answers here do.
            row = drift.next_answer(
                transaction,
                promotion.task_id,
                starts,
                until=window.last_seq,
                first_later=FIRST_LIVE,
                choose=rng.choice,
            )
        if row is None:
            return None
        answer = row.answer
        if answer.complete and not row.tool_calls and row.inputs is not None:
            inputs = decode_inputs(row.inputs)
            return _First(row.seq, row.id, row.api, row.request, inputs, answer)
    return None


async def _answered(
    connect: ConnectAgain, first: _First, over: Callable[[], bool]
) -> tuple[Reply, str]:
    """Ask the teacher, waiting as long as an answer may take.

    Raises:
        TeacherError: There was no answer.
    """
    deadline = time.monotonic() + LONGEST
    async with connect() as ask:
        asking = asyncio.ensure_future(ask(first.api, first.request))
        while not asking.done():
            await asyncio.wait({asking}, timeout=_STEP)
            if not asking.done() and (over() or time.monotonic() > deadline):
                asking.cancel()
                await asyncio.wait({asking})
                raise TeacherError(f"It did not answer within {LONGEST:g} s")
        return asking.result()


def _loss(subject: Subject, first: _First, second: Answer) -> float:
    """Return how far a second answer is from the first, from 0 to 1."""
    if not second.complete or second.tool_calls:
        return 1.0
    pair = Pair(subject.request_of(first.inputs), first.answer, second)
    return subject.comparison.losses([pair])[0]
