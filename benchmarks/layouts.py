"""Layouts of a record's input: one in six that behaves otherwise, and one that appears later.

    python benchmarks/layouts.py [--draws N]

Made-up orders are written in seven layouts: labels in different words and orders, with optional
ones. Of six that are there from the beginning, the teacher takes the customer in one from either of
two names by a coin, which no input tells. The seventh comes after training, and calls things by
words that other layouts have for other things. A student is trained for each of four worlds (600
records, other words in each); 50 times each, 300 orders are drawn to calibrate and 1,000 to test,
of all old layouts and, one in twelve, the new one. The gate is as it is in the loop, with the
layouts as slices and without.

A promise is broken in a draw if the orders that the student would answer disagree more than
epsilon, in expectation: over all orders of its world that were not drawn.
"""

import argparse
import json
import random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from coverage import DELTA
from openwheel.gate import Plan, clopper_pearson, judge, least_confidence, make_plan, spent
from openwheel.loop.records import Slicer
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.choose import evidently_bad, find_slicer
from openwheel.students import Fitted
from openwheel.students.fields.fit import fit_fields
from openwheel.students.rung import Lesson
from openwheel.tasks import canonical_answer
from openwheel.wire import Answer
from shared import about

WORLDS = 4
LEARNED, CALIBRATION, TEST, POOL = 600, 300, 1_000, 6_000
EPSILON = 0.05
OLD = 6
NEW_SHARE = 1 / 12
SYLLABLES = "ba be bo da de do fa fe ga go ka ke la le lo ma me mo na ne no ra re ro sa se ta te to"
NAMES = {
    "customer": ("Customer", "Buyer", "Sold to", "Client", "Ordered by", "Account"),
    "receiver": ("Ship to", "Receiver", "Deliver to", "Goods to", "Consignee", "Drop at"),
    "item": ("Item", "Article", "Product", "Goods", "Position", "What"),
    "count": ("Quantity", "Pieces", "Amount", "Units", "Number", "Qty"),
    "due": ("Due", "Wanted on", "Deliver by", "Date", "Not later than", "Needed"),
}
ENDS = ("Kind regards", "Thank you", "Sent from the shop", "EOM", "Best", "Cheers", "Thank you")
LATER = {
    "customer": NAMES["receiver"][2],
    "receiver": NAMES["customer"][3],
    "item": NAMES["item"][4],
    "count": NAMES["count"][5],
    "due": NAMES["due"][1],
}
"""The labels of the seventh layout."""


class Order(NamedTuple):
    """An input, the teacher's record, and which layout the input has."""

    text: str
    answer: str
    layout: int


def word(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES.split(), k=rng.randint(2, 3)))


def label_of(name: str, layout: int) -> str:
    return LATER[name] if layout == OLD else NAMES[name][layout]


def order(rng: random.Random, things: list[str], layout: int, fields: list[str]) -> Order:
    people = [f"{word(rng)} {word(rng)}".title() for _ in range(2)]
    values = {
        "customer": people[0],
        "receiver": people[1],
        "item": rng.choice(things),
        "count": str(rng.randint(1, 90)),
        "due": f"{rng.randint(1, 28):02}.{rng.randint(1, 12):02}.2026",
    }
    lines = [
        f"{label_of(name, layout)}: {values[name]}"
        for name in fields
        if name != "due" or rng.random() < 0.7
    ]
    if rng.random() < 0.5:
        lines.append(ENDS[layout])
    taken = people[int(rng.random() < 0.5)] if layout == 0 else people[0]
    record = {"customer": taken, "item": values["item"], "count": int(values["count"])}
    if any(line.startswith(f"{label_of('due', layout)}:") for line in lines):
        record["due"] = values["due"]
    return Order("\n".join(lines), json.dumps(record), layout)


def orders(world: int, n: int, seed: int, new: float) -> list[Order]:
    """Make orders of a world; its seventh layout has this share of them."""
    words = random.Random(world)
    things = [word(words) for _ in range(40)]
    fields = []
    for _ in range(OLD + 1):
        fields.append(list(NAMES))
        words.shuffle(fields[-1])
    rng = random.Random(1_000 * world + seed)
    made = []
    for _ in range(n):
        layout = OLD if rng.random() < new else rng.randrange(OLD)
        made.append(order(rng, things, layout, fields[layout]))
    return made


def canonical(text: str) -> str:
    return canonical_answer(Answer(text), "record")


def taught(rows: list[Order]) -> Fitted:
    answers = [canonical(row.answer) for row in rows]
    return fit_fields(
        Lesson(
            inputs=[(row.text,) for row in rows],
            answers=answers,
            variables=(0,),
            form="record",
            surfaces=dict(zip(answers, (row.answer for row in rows), strict=True)),
        )
    )


class Pool(NamedTuple):
    """Orders that a student answered: confidences, losses and layouts, shape (n,)."""

    confidence: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    layouts: npt.NDArray[np.int64]


def taken(pool: Pool, rows: npt.NDArray[np.int64]) -> Pool:
    return Pool(pool.confidence[rows], pool.losses[rows], pool.layouts[rows])


class World(NamedTuple):
    """A student, what it learned from, and what it answers to many orders."""

    rows: list[Order]
    fitted: Fitted
    orders: list[Order]
    pool: Pool


def world(number: int) -> World:
    rows = orders(number, LEARNED, 0, 0.0)
    fitted = taught(rows)
    found = orders(number, POOL, 1, NEW_SHARE)
    texts, confidence = fitted.student.answer([(row.text,) for row in found])
    losses = [
        float(not text or canonical(text) != canonical(row.answer))
        for text, row in zip(texts, found, strict=True)
    ]
    layouts = np.array([row.layout for row in found])
    return World(rows, fitted, found, Pool(confidence, np.array(losses), layouts))


class Draw(NamedTuple):
    """What is answered of the test, whether the promise broke, coverage."""

    answered: Pool
    broken: bool
    coverage: float


def draws(one: World, seed: int, number: int, *, sliced: bool) -> tuple[list[Draw], str]:
    """Return draws, and what was found of layouts."""
    own = one.fitted.confidence
    losses = (~one.fitted.agrees).astype(np.float64)
    worst = LoopSettings(epsilon=EPSILON).worst("")
    floor = least_confidence(own, losses, worst)
    pool, slicer = one.pool, Slicer()
    if sliced:
        slicer = find_slicer([(row.text,) for row in one.rows], layouts=True)
        trained = [(one.rows[i].text,) for i in one.fitted.rows]
        plan = planned(own, losses, floor)
        if plan.thresholds:
            start = plan.thresholds[int(np.argmax(plan.weights))]
            names = [slicer.slice_of(values) for values in trained]
            slicer = slicer.without(evidently_bad(names, own >= start, losses, EPSILON))
        own = np.where([slicer.defers(values) for values in trained], 0.0, own)
        off = [slicer.defers((row.text,)) for row in one.orders]
        pool = pool._replace(confidence=np.where(off, 0.0, pool.confidence))
    plan = planned(own, losses, floor)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        drawn = rng.permutation(POOL)
        part, rest = taken(pool, drawn[:CALIBRATION]), taken(pool, drawn[CALIBRATION:])
        judged = judge(
            part.confidence,
            part.losses,
            np.arange(CALIBRATION),
            plan,
            epsilon=EPSILON,
            delta=spent(DELTA, 1),
        )
        threshold = 2.0 if judged.chosen is None else judged.tests[judged.chosen].threshold
        sure = rest.confidence >= threshold
        broken = bool(sure.any()) and float(rest.losses[sure].mean()) > EPSILON
        test = np.flatnonzero(sure[:TEST])
        found.append(Draw(taken(rest, test), broken, len(test) / TEST))
    told = f"{len(slicer.layouts)} layouts, left to the teacher: {', '.join(slicer.deferred)}"
    return found, told


def planned(
    confidence: npt.NDArray[np.float64], losses: npt.NDArray[np.float64], floor: float
) -> Plan:
    return make_plan(
        confidence,
        losses,
        epsilon=EPSILON,
        delta=spent(DELTA, 1),
        calibration=CALIBRATION,
        floor=floor,
    )


def report(found: list[Draw]) -> None:
    broken = sum(one.broken for one in found)
    low, high = clopper_pearson(broken, len(found))
    certified = sum(one.coverage > 0 for one in found)
    print(
        f"  certified {certified} of {len(found)}; promise broken in {broken} ({low:.1%} to "
        f"{high:.1%}), delta spent {spent(DELTA, 1):.1%}; mean coverage "
        f"{np.mean([one.coverage for one in found]):.3f}"
    )
    parts = {"the odd layout": [0], "the five others": [1, 2, 3, 4, 5], "the new layout": [OLD]}
    for name, layouts in parts.items():
        losses = np.concatenate(
            [one.answered.losses[np.isin(one.answered.layouts, layouts)] for one in found]
        )
        share = f"{losses.mean():.2%}" if len(losses) else "none"
        print(f"  {name}: answered {len(losses):,} times in all tests, {share} of these wrong")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=200)
    each = options.parse_args().draws // WORLDS
    print(about("benchmarks/layouts.py"))
    worlds = [world(number) for number in range(WORLDS)]
    for sliced in (True, False):
        parts = [draws(one, seed, each, sliced=sliced) for seed, one in enumerate(worlds)]
        print(f"\n{'layouts as slices' if sliced else 'without slices'}:")
        for _, told in parts if sliced else ():
            print(f"  {told}")
        report([one for found, _ in parts for one in found])


if __name__ == "__main__":
    main()
