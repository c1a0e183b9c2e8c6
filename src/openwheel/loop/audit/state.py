"""The state of one promotion's audits, and when it is an alarm: pure functions, no I/O."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from openwheel.gate import spent
from openwheel.gate.monitors import ConfidenceSequence, EDetector, EProcess
from openwheel.loop.audit.shares import DOUBT, SAID, Evidence, Signal, asked_for, enough_audits

ALL = ""
"""The name of the whole task among its slices."""

LATEST_DISAGREED = 20
"""The number of latest disagreements whose ids are kept, for people to read."""

MOST_OFF = 0.5
"""If audits took off slices with more than this share of the answers, the whole student goes."""

OF_RATE = 0.9
"""Share of delta for tests of the rate since the promotion; the rest is for detectors of changes,
which spend it in about ``delta / 10 x run_length`` audits, and go on."""

DAY = 86_400.0


class Audit(msgspec.Struct, frozen=True):
    """One audited answer.

    Attributes:
        seq: Of the exchange with the teacher's answer.
        id: Of the same exchange.
        time: Seconds since 1970.
        slice: The slice it is in, ``""`` if that is unknown or there is only one.
        loss: From 0, where the student's answer agrees, to 1.
        probability: With which it was audited.
        micro_dollars: Its cost; None where the client got the teacher's answer anyway.
    """

    seq: int
    id: str
    time: float
    slice: str
    loss: float
    probability: float
    micro_dollars: float | None = None


class Change(msgspec.Struct, frozen=True):
    """Estimates where a change for the worse began: where Page's CUSUM was last at zero.

    It tests nothing: the monitors raise alarms.

    Attributes:
        value: Of the CUSUM.
        after_seq: Exchanges after this one are after the change.
        audits, loss: Audited answers since, and the sum of their losses.
    """

    value: float = 0.0
    after_seq: int = 0
    audits: int = 0
    loss: float = 0.0

    def after(self, audits: Sequence[Audit], epsilon: float) -> "Change":
        """Return the same after more audits.

        Examples:
            >>> seen = [Audit(seq, "", 0.0, "", float(seq > 500), 1.0) for seq in range(1, 506)]
            >>> change = Change().after(seen, 0.05)
            >>> change.after_seq, change.audits, change.loss
            (500, 5, 5.0)
        """
        worse = math.sqrt(epsilon * max(epsilon, 0.5))
        right = math.log1p(-worse) - math.log1p(-epsilon)
        wrong = math.log(worse / epsilon)
        value, after_seq, count, loss = self.value, self.after_seq, self.audits, self.loss
        for audit in audits:
            value += audit.loss * wrong + (1 - audit.loss) * right
            count, loss = count + 1, loss + audit.loss
            if value <= 0:
                value, after_seq, count, loss = 0.0, audit.seq, 0, 0.0
        return Change(value, after_seq, count, loss)


class Stream(msgspec.Struct, frozen=True):
    """The audits of a task, or of one slice of it.

    Attributes:
        since: Tests the rate since the promotion, or since an alarm in a slice.
        change: Notices a later change.
        began: Where that would have begun.
    """

    since: EProcess
    change: EDetector
    began: Change

    @property
    def alarm(self) -> bool:
        """Whether disagreement is evidently too high."""
        return self.since.alarm or self.change.alarm

    @property
    def doubt(self) -> float:
        """How near the nearer monitor is to its alarm, from 0 to 1, on a log scale."""
        near = (monitor.evidence / monitor.limit for monitor in (self.since, self.change))
        return max(0.0, *near)

    def after(self, audits: Sequence[Audit]) -> "Stream":
        """Return the same after more audits."""
        losses = [audit.loss for audit in audits]
        return Stream(
            self.since.update(losses),
            self.change.update(losses),
            self.began.after(audits, self.since.epsilon),
        )


class Spending(msgspec.Struct, frozen=True):
    """The cost of a task's audits, and how many requests they stand for.

    Attributes:
        day: Days since 1970, by UTC.
        first: Time of the day's first audit.
        dollars: Spent on that day.
        requests: About how many requests a student could answer on that day: each audited answer
            stands for as many as one over its probability.
        before: The same on the day before, 0 if there were none.
        audits, total: Audits ever that cost something, and what they cost, in dollars.
    """

    day: int = 0
    first: float = 0.0
    dollars: float = 0.0
    requests: float = 0.0
    before: float = 0.0
    audits: int = 0
    total: float = 0.0

    def after(self, audit: Audit) -> "Spending":
        """Return the spending after one more audit; a late one, of the day before, begins no day.

        A still earlier day is not late: the clock had been ahead, and was set right.
        """
        spending = self
        day = int(audit.time // DAY)
        if day > self.day or day < self.day - 1:
            before = self.requests if day == self.day + 1 else 0.0
            spending = Spending(
                day, audit.time, before=before, audits=self.audits, total=self.total
            )
        cost = (audit.micro_dollars or 0.0) / 1e6
        return msgspec.structs.replace(
            spending,
            dollars=spending.dollars + cost,
            requests=spending.requests + 1 / audit.probability,
            audits=spending.audits + (audit.micro_dollars is not None),
            total=spending.total + cost,
        )

    @property
    def each(self) -> float:
        """What an audit costs on average, in dollars."""
        return self.total / self.audits if self.audits else 0.0

    def today(self, now: float) -> float:
        """Return what was spent on the day of ``now``, in dollars."""
        return self.dollars if self.day - 1 <= int(now // DAY) <= self.day else 0.0

    def requests_left(self, now: float) -> float:
        """Estimate how many requests are still to come on the day, from today's and yesterday's."""
        seconds = DAY - now % DAY
        if int(now // DAY) > self.day:
            return seconds * self.requests / DAY
        # Where the first is yet to come, the clock was set back.
        rate = self.requests / max(abs(now - self.first), 600.0)
        return seconds * max(rate, self.before / DAY)


class AuditState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one promotion's audits.

    Attributes:
        promotion: The row of the promotion (`Promotion.since`).
        task, student: Ids.
        epsilon, delta: The most disagreement allowed, and the chance of ever being wrong.
        run_length: Audited answers until a false alarm of all detectors together.
        cursor: The newest exchange that was looked at.
        whole: All audits, but those of slices that were taken off.
        slices: Each slice that students may answer.
        live: The live rate, for people; it raises no alarm.
        deferred: Slices that audits took off.
        restarts: How often the evidence on the whole started over after a slice was taken off.
        ended: Whether there was an alarm on the whole: later audits are only counted.
        disagreed: Ids of the latest disagreements.
        requests, answered: Requests of the task since, and how many of them students answered.
        best_effort: How many students answered below their threshold; these are no coverage.
        spending: What audits cost.
        signals: The signals of deferred requests and unknown answers, by name.
    """

    promotion: int
    task: str
    student: str
    epsilon: float
    delta: float
    run_length: float
    cursor: int
    whole: Stream
    slices: dict[str, Stream] = {}
    live: ConfidenceSequence
    deferred: tuple[str, ...] = ()
    restarts: int = 0
    ended: bool = False
    disagreed: tuple[str, ...] = ()
    requests: int = 0
    answered: int = 0
    best_effort: int = 0
    spending: Spending = Spending()
    signals: dict[str, Signal] = {}

    @property
    def evidence(self) -> Evidence:
        """What decides how many requests are audited next."""
        enough = enough_audits(self.epsilon, self.delta)
        streams = [self.whole, *(self.slices[name] for name in self.left)]
        doubt = min(max(stream.doubt for stream in streams), 1.0)
        signal = " and ".join(SAID[name] for name in self.up)
        return Evidence(self.whole.since.seen.answers, enough, doubt, signal)

    @property
    def up(self) -> tuple[str, ...]:
        """The signals that ask for more audits now."""
        audits = self.live.seen.answers
        return tuple(name for name, signal in self.signals.items() if audits < signal.until)

    @property
    def left(self) -> tuple[str, ...]:
        """The slices that were not taken off."""
        return tuple(name for name in self.slices if name not in self.deferred)


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that a student, or one slice of it, disagrees too often.

    Attributes:
        student: Its id.
        slice: The slice, ``""`` for all of the task.
        by: The monitor that raised it: ``e-process`` (the rate since the promotion) or
            ``e-detector`` (a later change); ``judge`` where audits cannot be judged any more.
        epsilon: The most disagreement allowed.
        audits, loss: Audited answers since the promotion, and the sum of their losses.
        e_value, limit: The evidence, and what is an alarm.
        after_seq: A change for the worse began after about this exchange.
        audits_since, loss_since: Audited answers since then, and the sum of their losses.
        seq: The exchange at which it was raised.
        disagreed: Ids of the latest disagreements: exchanges with the teacher's answer.
    """

    student: str
    slice: str = ALL
    by: str
    epsilon: float
    audits: int = 0
    loss: float = 0.0
    e_value: float = 0.0
    limit: float = 0.0
    after_seq: int = 0
    audits_since: int = 0
    loss_since: float = 0.0
    seq: int = 0
    disagreed: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Describe the alarm in a sentence."""
        if self.by == "judge":
            return (
                "audit: its audits can no longer be judged, since the judge's budget is spent; "
                "raise judge_budget"
            )
        place = f"in slice {self.slice!r} " if self.slice else ""
        if self.by == "e-process":
            counts = _lost(self.loss, self.audits, f"audited answers {place}")
        else:
            counts = _lost(
                self.loss_since, self.audits_since, f"audited answers {place}", latest=True
            )
        return (
            f"audit: {counts}, evidently more than {self.epsilon:.2%} "
            f"({self.by}: {self.e_value:,.0f}, an alarm at {self.limit:,.0f})"
        )


def _lost(loss: float, answers: int, which: str, *, latest: bool = False) -> str:
    """Say how many of some answers disagreed; where losses are parts of 1, their mean."""
    the_latest = "the latest " if latest else ""
    if float(loss).is_integer():
        return f"{loss:g} of {the_latest}{answers:,} {which}disagreed with the teacher"
    return f"{the_latest}{answers:,} {which}disagreed with the teacher by {loss / answers:.2%}"


def new_state(
    *,
    promotion: int,
    task: str,
    student: str,
    epsilon: float,
    delta: float,
    run_length: float,
    cursor: int,
    slices: Sequence[str] = (),
    spending: Spending | None = None,
) -> AuditState:
    """Return a state that has seen nothing yet.

    With slices, the whole task has half of delta, and all slices together the other half. The
    detectors share the run length likewise.
    """
    share = 0.5 if slices else 1.0
    each = 0.5 / max(len(slices), 1)
    rate = OF_RATE * delta
    whole = spent(share * rate, 1) if slices else rate
    began = Change(after_seq=cursor)
    return AuditState(
        promotion=promotion,
        task=task,
        student=student,
        epsilon=epsilon,
        delta=delta,
        run_length=run_length,
        cursor=cursor,
        whole=Stream(EProcess(epsilon, whole), EDetector(epsilon, run_length / share), began),
        slices={
            name: Stream(
                EProcess(epsilon, each * rate), EDetector(epsilon, run_length / each), began
            )
            for name in slices
        },
        live=ConfidenceSequence(epsilon),
        spending=spending or Spending(),
    )


def observe(state: AuditState, audits: Sequence[Audit]) -> tuple[AuditState, tuple[Alarm, ...]]:
    """Return the state after more audits, and the alarms they raised, in order.

    At an alarm in one slice that slice is taken off, and the evidence on the whole starts over
    without it, at a smaller share of delta. It does not start over if other slices are in doubt
    as well, or if half of the answers would be gone. An alarm on the whole is the last.
    """
    if not audits:
        return state, ()
    moved = _moved(state, audits)
    bad = [name for name in moved.left if moved.slices[name].alarm]
    if state.ended or not (bad or moved.whole.alarm):
        return moved, ()
    if len(audits) > 1:  # find the very answer
        half = len(audits) // 2
        first, early = observe(state, audits[:half])
        second, late = observe(first, audits[half:])
        return second, early + late
    return _taken_off(moved, bad, audits[0])


def with_news(state: AuditState, news: Mapping[str, Sequence[float]]) -> AuditState:
    """Return the state after free news: for each signal losses of exchanges, in order."""
    until = state.live.seen.answers + asked_for(state.epsilon, state.run_length)
    signals = {
        name: state.signals.get(name, Signal()).after(losses, until=until)
        for name, losses in news.items()
    }
    return msgspec.structs.replace(state, signals=state.signals | signals)


def _moved(state: AuditState, audits: Sequence[Audit]) -> AuditState:
    counted = [audit for audit in audits if audit.slice not in state.deferred]
    by_slice: dict[str, list[Audit]] = {}
    spending = state.spending
    for audit in audits:
        spending = spending.after(audit)
    for audit in counted:
        if audit.slice in state.slices:
            by_slice.setdefault(audit.slice, []).append(audit)
    wrong = [audit.id for audit in counted if audit.loss > 0]
    return msgspec.structs.replace(
        state,
        cursor=audits[-1].seq,
        whole=state.whole.after(counted),
        slices=state.slices
        | {name: state.slices[name].after(of_slice) for name, of_slice in by_slice.items()},
        live=state.live.update([audit.loss for audit in audits]),
        disagreed=(*state.disagreed, *wrong)[-LATEST_DISAGREED:],
        spending=spending,
    )


def _taken_off(
    state: AuditState, bad: Sequence[str], last: Audit
) -> tuple[AuditState, tuple[Alarm, ...]]:
    alarms = tuple(_alarm(state, name, state.slices[name], last) for name in bad)
    changed = msgspec.structs.replace(state, deferred=(*state.deferred, *bad))
    answers = {name: stream.since.seen.answers for name, stream in changed.slices.items()}
    off = sum(answers[name] for name in changed.deferred)
    elsewhere = any(changed.slices[name].doubt >= DOUBT for name in changed.left)
    if not bad or off > MOST_OFF * sum(answers.values()) or (changed.whole.alarm and elsewhere):
        ended = msgspec.structs.replace(changed, ended=True)
        return ended, (*alarms, _alarm(state, ALL, changed.whole, last))
    if elsewhere:  # the evidence is not of one slice alone, and stands
        return changed, alarms
    restarts = changed.restarts + 1
    whole = Stream(
        EProcess(changed.epsilon, spent(0.5 * OF_RATE * changed.delta, restarts + 1)),
        EDetector(changed.epsilon, changed.whole.change.average_run_length),
        Change(after_seq=last.seq),
    )
    return msgspec.structs.replace(changed, restarts=restarts, whole=whole), alarms


def _alarm(state: AuditState, name: str, stream: Stream, last: Audit) -> Alarm:
    monitor = stream.since if stream.since.alarm or not stream.change.alarm else stream.change
    return Alarm(
        student=state.student,
        slice=name,
        by="e-process" if monitor is stream.since else "e-detector",
        epsilon=state.epsilon,
        audits=stream.since.seen.answers,
        loss=stream.since.seen.loss,
        e_value=math.exp(monitor.evidence),
        limit=math.exp(monitor.limit),
        after_seq=stream.began.after_seq,
        audits_since=stream.began.audits,
        loss_since=stream.began.loss,
        seq=last.seq,
        disagreed=state.disagreed,
    )
