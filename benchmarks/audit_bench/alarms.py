"""How soon the audit as it runs takes a student off after a real drift, with signals and without.

The policy, the watch and the signals are the product's own; only the store is left out. Real texts,
drawn with replacement, come one after the other. The student is the product's linear rung, promoted
by the gate. A run begins at the promotion; the drift comes when audits have fallen to their least.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audit_bench.drifts import FEW, FloatArray, Pair
from openwheel.gate import judge, make_plan, spent
from openwheel.loop.audit.shares import (
    UNKNOWN_AUDITED,
    UNKNOWN_DEFERRED,
    WRONG_GUESSES,
    Budget,
    audit_probability,
    has_moved,
)
from openwheel.loop.audit.state import ALL, Audit, AuditState, new_state, observe, with_news
from openwheel.students import train
from shared import rows

USUAL = Budget(share=0.05, least=0.02)
RUN_LENGTH = 1_000_000.0
LOOK_EVERY = 50
"""Requests between looks."""

Flags = npt.NDArray[np.bool_]


class Asked(NamedTuple):
    """Texts that a promoted student was asked, with what became of each.

    Attributes:
        answered: Whether it answers.
        wrong: Whether its answer, given or not, is another than the teacher's.
        unknown: Whether the teacher's is one that it cannot give.
    """

    answered: Flags
    wrong: FloatArray
    unknown: FloatArray

    def shown(self) -> str:
        """Return the cells of a table: coverage, disagreement, and both of what was deferred."""
        deferred = ~self.answered
        return (
            f"{self.answered.mean():.3f} | {self.wrong[self.answered].mean():.2%} | "
            f"{self.unknown[deferred].mean():.1%} | {self.wrong[deferred].mean():.1%}"
        )


class World(NamedTuple):
    """A drift, and what a student did on the texts before and after."""

    name: str
    before: Asked
    after: Asked


class Run(NamedTuple):
    """What one run came to.

    Attributes:
        early: Whether the student was taken off before the drift.
        share: Of the latest answers before the drift, how many were audited.
        raised: Signals before the drift.
        requests, wrong, audits: From the drift until the student was off.
    """

    early: bool
    share: float
    raised: int
    requests: int
    wrong: int
    audits: int


def worlds(epsilon: float, delta: float) -> Iterator[World]:
    """Yield the drifts: labels that split, another teacher, a label that nobody had."""
    bank = _shuffled([(row["text"], row["label"]) for row in rows("banking77")])
    coarse = [(text, next((word for word in FEW if word in label), label)) for text, label in bank]
    student = _Promoted(coarse[:6_000], coarse[6_000:8_000], epsilon, delta)
    yield World("7 labels split from 2", student.ask(coarse[8_000:]), student.ask(bank[8_000:]))
    said = {
        row["text"]: row["gpt4"]
        for row in rows("ocats_banking77_gpt")
        if row.get("gpt4") and row["gpt4"] != "__unparsed__"
    }
    asked = [(text, label) for text, label in bank if text in said]
    rest = [(text, label) for text, label in bank if text not in said]
    student = _Promoted(rest[:6_000], rest[6_000:8_000], epsilon, delta)
    swapped = [(text, said[text]) for text, _ in asked]
    yield World("teacher swapped for GPT-4", student.ask(asked), student.ask(swapped))
    snips = _shuffled([(row["text"], row["intent"]) for row in rows("snips")])
    without = [pair for pair in snips if pair[1] != "AddToPlaylist"]
    student = _Promoted(without[:3_000], without[3_000:4_500], epsilon, delta)
    yield World("a new label", student.ask(without[4_500:]), student.ask(snips[4_500:]))


def _shuffled(pairs: list[Pair]) -> list[Pair]:
    return [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]


class _Promoted:
    def __init__(self, learned: list[Pair], held: list[Pair], epsilon: float, delta: float) -> None:
        fitted = train(
            "linear", [(t,) for t, _ in learned], [a for _, a in learned], variables=(0,)
        )
        self.student = fitted.student
        level = spent(delta, 1)
        plan = make_plan(
            fitted.confidence,
            (~fitted.agrees).astype(np.float64),
            epsilon=epsilon,
            delta=level,
            calibration=len(held),
        )
        confidence, wrong, _ = self._asked(held)
        verdict = judge(confidence, wrong, np.arange(len(held)), plan, epsilon=epsilon, delta=level)
        if verdict.chosen is None:
            raise SystemExit("the gate refuses the student: there is nothing to be watched")
        self.threshold = verdict.tests[verdict.chosen].threshold

    def _asked(self, pairs: list[Pair]) -> tuple[FloatArray, FloatArray, FloatArray]:
        found = self.student.answer([(text,) for text, _ in pairs])
        teacher = np.array([label for _, label in pairs])
        wrong = np.array(found.texts) != teacher
        unknown = ~np.isin(teacher, self.student.answers)
        return found.confidence, wrong.astype(np.float64), unknown.astype(np.float64)

    def ask(self, pairs: list[Pair]) -> Asked:
        confidence, wrong, unknown = self._asked(pairs)
        return Asked(confidence >= self.threshold, wrong, unknown)


def run(
    world: World,
    rng: np.random.Generator,
    *,
    signals: bool,
    epsilon: float,
    delta: float,
    before: int,
    latest: int,
    most: int,
) -> Run:
    """Send requests until the student is off.

    Args:
        world: What comes.
        rng: For requests and the coin.
        signals: Whether the watch is told of what came free.
        epsilon: The most disagreement allowed.
        delta: And the chance of a wrong alarm.
        before: Requests before the drift.
        latest: As many of these as the audited share is counted on.
        most: Requests after the drift at which to stop waiting.
    """
    watch = new_state(
        promotion=1,
        task="t",
        student="s",
        epsilon=epsilon,
        delta=delta,
        run_length=RUN_LENGTH,
        cursor=0,
    )
    share = audit_probability(watch.evidence, USUAL)
    answers = audits = wrong = since = raised = at = 0
    while at < before + most and not watch.ended:
        asked = world.before if at < before else world.after
        drawn = rng.integers(0, len(asked.answered), LOOK_EVERY)
        coins = rng.random(LOOK_EVERY) < share
        answered = asked.answered[drawn]
        audited = answered & coins
        watch, alarms = observe(
            watch,
            [
                Audit(at + place + 1, "", 0.0, ALL, float(asked.wrong[drawn[place]]), share)
                for place in np.flatnonzero(audited).tolist()
            ],
        )
        off = alarms[-1].seq - at if watch.ended else LOOK_EVERY
        if signals:
            watch = _told(watch, asked, drawn, answered, audited)
        if before - latest <= at < before:
            answers, audits = answers + int(answered.sum()), audits + int(audited.sum())
        elif at >= before:
            wrong += int(asked.wrong[drawn[:off]][answered[:off]].sum())
            since += int(audited[:off].sum())
        at += off
        if at == before:
            raised = sum(signal.raised for signal in watch.signals.values())
        wanted = audit_probability(watch.evidence, USUAL)
        share = wanted if has_moved(share, wanted) else share
    if at <= before:
        return Run(True, 0.0, 0, 0, 0, 0)
    return Run(False, audits / answers, raised, at - before, wrong, since)


def _told(
    watch: AuditState, asked: Asked, rows: npt.NDArray[np.int64], answered: Flags, audited: Flags
) -> AuditState:
    deferred = rows[~answered]
    return with_news(
        watch,
        {
            UNKNOWN_DEFERRED: asked.unknown[deferred].tolist(),
            UNKNOWN_AUDITED: asked.unknown[rows[audited]].tolist(),
            WRONG_GUESSES: asked.wrong[deferred].tolist(),
        },
    )
