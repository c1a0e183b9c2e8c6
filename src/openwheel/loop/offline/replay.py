"""Replays a log in order as live traffic for a loop that starts from nothing."""

import random
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from openwheel.errors import RequestError
from openwheel.loop.audit.step import audit
from openwheel.loop.learner.schedule import FEWEST_NEW, next_turn
from openwheel.loop.offline.evaluate import Outcome, Score, Tally, TaskScore, outcome_of
from openwheel.loop.records import Event
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.route import Route, as_audit, by_student, by_teacher, route
from openwheel.loop.serving import Decision, RegistryServing, settled
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.loop.turn.turn import turn
from openwheel.progress import Progress, silent, steps_alone
from openwheel.store import Exchange, Store

LOOK_EVERY = 50
"""Requests between looks at the audits, where a learner looks every half second."""


class Moment(msgspec.Struct, frozen=True):
    """The state of a replay just before a turn.

    Attributes:
        score: All exchanges so far.
        latest: Those since the moment before.
        teacher_calls: Requests the teacher answered so far, audits included.
        audits: Answers of students that were audited so far.
        events: The events of audits since the moment before, and of the turn then.
        cpu_s: CPU seconds of the turn then.
    """

    score: Score
    latest: Score
    teacher_calls: int
    audits: int
    events: tuple[Event, ...]
    cpu_s: float


class Served(msgspec.Struct, frozen=True):
    """The outcome of one request.

    Attributes:
        exchange: The request, and the teacher's answer.
        decision: The decision on who answers.
        loss: How far a student's answer was from the teacher's; None if the teacher answered.
        audited: Whether the teacher was asked as well.
    """

    exchange: Exchange
    decision: Decision
    loss: float | None
    audited: bool

    @property
    def answered(self) -> bool:
        """Whether a student answered; else the teacher did."""
        return self.loss is not None

    @property
    def agrees(self) -> bool:
        """Whether a student answered as the teacher did."""
        return self.loss == 0


class Replayed(msgspec.Struct, frozen=True):
    """The result of a replay: all exchanges, each task, and the time line.

    Attributes:
        total: All exchanges.
        tasks: Each task, the largest first.
        teacher_calls: Requests the teacher answered, audits included.
        audits: Answers of students that were audited.
        timeline: Each turn.
        looks_cpu_s: CPU seconds of the looks at audits between turns.
    """

    total: Score
    tasks: tuple[TaskScore, ...]
    teacher_calls: int
    audits: int
    timeline: tuple[Moment, ...]
    looks_cpu_s: float


class _Counts(msgspec.Struct):
    total: Tally
    latest: Tally
    tasks: dict[str, Tally]
    teacher_calls: int = 0
    audits: int = 0
    looks_cpu_s: float = 0.0


def _nothing(_: Served | Sequence[Event]) -> None:
    pass


def replay(
    store: Store,
    exchanges: Iterable[Exchange],
    settings: LoopSettings,
    *,
    seed: int = 0,
    resources: Resources = NO_RESOURCES,
    progress: Progress = silent,
    each: Callable[[Served], None] = _nothing,
    tell: Callable[[Sequence[Event]], None] = _nothing,
) -> Replayed:
    """Send a log through the loop as if it were live traffic.

    Students answer what they are certified for as soon as they are; the teacher's answers to those
    requests are then hidden from the loop, except for those that the audit coin picks. Disagreement
    is counted on all answers, since the log has the teacher's answer to each.

    Args:
        store: An empty store to work in.
        exchanges: The log, in order of arrival.
        seed: Of the audit coin.
        progress: Called with each turn, and with the steps in it that take long.
        each: Called with the outcome of each request, in order.
        tell: Called with each event of turns and audits, as it happens.
    """
    coin = random.Random(seed)
    registry = Registry(store)
    serving = RegistryServing(registry, resources)
    counts = _Counts(Tally(), Tally(), {})
    timeline: list[Moment] = []
    waiting: list[Exchange] = []
    between: list[Event] = []
    looked_at, assigned, due = 0, 0, next_turn(0)

    def keep() -> None:
        store.append(waiting)
        waiting.clear()

    def look() -> bool:
        """Look at the audits as a learner does between turns; return whether one was an alarm."""
        nonlocal assigned
        started = time.process_time()
        keep()
        assigned = assign_new(store, registry, after=assigned)
        events = audit(store, registry, settings, resources, until=assigned)
        serving.refresh()
        between.extend(events)
        tell(events)
        counts.looks_cpu_s += time.process_time() - started
        return any(event.kind == "demoted" for event in events)

    def take_turn() -> None:
        nonlocal assigned, looked_at, due
        started = time.process_time()
        keep()
        done = turn(
            store, settings, after=looked_at, resources=resources, progress=steps_alone(progress)
        )
        serving.refresh()
        tell(done.events)
        timeline.append(
            Moment(
                counts.total.score(),
                counts.latest.score(),
                counts.teacher_calls,
                counts.audits,
                (*between, *done.events),
                time.process_time() - started,
            )
        )
        between.clear()
        counts.latest = Tally()
        assigned = looked_at = done.looked_at
        due = next_turn(counts.total.n, shadowing=bool(registry.candidates(state="shadow")))
        progress(f"{counts.total.n:,} exchanges: coverage {timeline[-1].score.coverage:.1%}")

    for exchange in exchanges:
        try:
            request = exchange.read()
        except RequestError:
            continue
        decision = settled(serving.decide(request, exchange.task, exchange.key))
        way = route(decision, coin.random())
        waiting += _captured(exchange, decision, way)
        each(_count(counts, exchange, decision, way))
        if counts.total.n >= due:
            take_turn()
        elif counts.total.n % LOOK_EVERY == 0 and serving.students() and look():
            due = min(due, counts.total.n + FEWEST_NEW)
    if counts.latest.n:
        take_turn()
    return _replayed(counts, timeline)


def _replayed(counts: _Counts, timeline: Sequence[Moment]) -> Replayed:
    ordered = sorted(counts.tasks.items(), key=lambda item: (-item[1].n, item[0]))
    return Replayed(
        counts.total.score(),
        tuple(TaskScore(name, tally.score()) for name, tally in ordered),
        counts.teacher_calls,
        counts.audits,
        tuple(timeline),
        counts.looks_cpu_s,
    )


def _captured(exchange: Exchange, decision: Decision, way: Route) -> list[Exchange]:
    """Return the exchanges that a gateway would have captured for one request."""
    asked = by_teacher(exchange, decision, way)
    if decision.answer is None or way.held_back:
        return [asked]
    served = by_student(exchange, decision, decision.answer)
    return [served, as_audit(asked)] if way.audited else [served]


def _count(counts: _Counts, exchange: Exchange, decision: Decision, way: Route) -> Served:
    outcome = Outcome() if way.held_back else outcome_of(exchange.answer, decision)
    answered = outcome.loss is not None
    named = counts.tasks.setdefault(decision.task or "(no task yet)", Tally())
    for tally in (counts.total, counts.latest, named):
        tally.add(outcome)
    counts.teacher_calls += way.audited or not answered
    counts.audits += way.audited and answered
    return Served(exchange, decision, outcome.loss, way.audited and answered)
