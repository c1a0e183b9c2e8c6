"""What students do with requests whose answer they were never taught, before and after the guard.

Two kinds of unknown requests are mixed into a test set that a certified student answers:

- ``left out``: a quarter of the answers is kept out of training and calibration. The test set has
  them in their natural share.
- ``mixed in``: the student knows all answers of its task, and texts of another data set come too,
  as many as make up a fifth of the traffic.

Each line gives the coverage of the known requests, the share of the unknown ones that was answered,
and the disagreement of all that was answered (an answer to an unknown request is one), at the
laxest threshold that passes the gate at epsilon. ``before`` is without guard and floor, ``after``
with both.

    python benchmarks/novelty.py [--encoder FOLDER] [--data NAME ...] [--develop]

Published test splits are used where there are any (Banking77, SNIPS). With ``--develop`` no test
split is read: a fifth of the training split stands for it. All choices were made so.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coverage import DELTA, SETS, Pair, Split, ask
from openwheel.gate import clopper_pearson, judge, least_confidence, make_plan, spent
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.bursts import bursts
from openwheel.students import Fitted
from openwheel.students.encoder import TextEncoder
from openwheel.students.fit import fit_model
from openwheel.students.tune.tuning import open_encoder
from shared import about

OUT = 0.25
MIXED = 0.2
NAMES = ("banking77", "snips", "slurp", "sms_spam")


class World(NamedTuple):
    """Traffic with unknown requests in its test part alone."""

    split: Split
    unknown: list[Pair]


def left_out(split: Split, seed: int) -> World | None:
    """Leave a quarter of the answers out of all but the test part."""
    labels = sorted({answer for _, answer in split.training})
    if len(labels) < 3:
        return None
    order = np.random.default_rng(seed).permutation(len(labels))
    out = {labels[i] for i in order[: max(1, round(OUT * len(labels)))]}
    kept = Split(
        split.name,
        split.teacher,
        *(
            [pair for pair in part if pair[1] not in out]
            for part in (split.training, split.calibration, split.test)
        ),
    )
    return World(kept, [pair for pair in split.test if pair[1] in out])


def mixed_in(split: Split, others: Sequence[Split], seed: int) -> World:
    """Mix texts of other data sets into the test part."""
    pairs = [pair for other in others for pair in other.test]
    wanted = int(MIXED / (1 - MIXED) * len(split.test))
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:wanted]
    return World(split, [(pairs[i][0], "\0unknown") for i in chosen])


def developing(split: Split) -> Split:
    """Return a split within what is not test: its last fifth stands for the test part."""
    pairs = [*split.training, *split.calibration]
    cut, end = int(0.6 * len(pairs)), int(0.8 * len(pairs))
    return Split(split.name, split.teacher, pairs[:cut], pairs[cut:end], pairs[end:])


def run(
    kind: str, world: World, encoder: TextEncoder | None, epsilon: float, floors: Sequence[float]
) -> None:
    """Train with and without a guard, and print what is answered at the certified threshold."""
    split, rung = world.split, "linear" if encoder is None else "encoder"
    inputs = [(text,) for text, _ in split.training]
    answers = [answer for _, answer in split.training]
    for guarded in (False, True):
        fitted = fit_model(inputs, answers, variables=(0,), encoder=encoder, guarded=guarded)
        for floor in floors if guarded else (0.0,):
            settings = LoopSettings(epsilon=epsilon, floor=floor)
            name = f"guard, floor {floor:g}" if guarded else "before"
            print(f"{split.name}, {kind}, {rung}, {epsilon:.0%}, {name}: ", end="")
            print(judged(fitted, world, settings), flush=True)


def certified(
    fitted: Fitted, evidence: Sequence[Pair], settings: LoopSettings
) -> tuple[float, float | None] | None:
    """Return the laxest threshold that passes the gate, None if there is none.

    And the share of unknown requests that training expects to be answered there.
    """
    losses = (~fitted.agrees).astype(np.float64)
    clusters = bursts([(text,) for text, _ in evidence], (0,))
    plan = make_plan(
        fitted.confidence,
        losses,
        epsilon=settings.epsilon,
        delta=spent(DELTA, 1),
        calibration=len(set(clusters.tolist())),
        floor=least_confidence(fitted.confidence, losses, settings.worst("")),
        unknown=fitted.unknown,
    )
    confidence, agrees = ask(fitted, evidence)
    found = judge(
        confidence,
        (~agrees).astype(np.float64),
        clusters,
        plan,
        epsilon=settings.epsilon,
        delta=spent(DELTA, 1),
    )
    if found.chosen is None:
        return None
    expected = plan.unknown[found.chosen] if plan.unknown else None
    return found.tests[found.chosen].threshold, expected


def judged(fitted: Fitted, world: World, settings: LoopSettings) -> str:
    """Return what a student answers at the threshold that passes the gate."""
    split = world.split
    passed = certified(fitted, split.calibration, settings)
    if passed is None:
        return "refused"
    threshold, predicted = passed
    confidence, agrees = ask(fitted, split.test)
    known = confidence >= threshold
    wrong = int((known & ~agrees).sum())
    unknown = ask(fitted, world.unknown)[0] >= threshold
    expected = "not estimated" if predicted is None else f"{predicted:.1%}"
    return (
        f"threshold {threshold:.3f}; known {share(int(known.sum()), len(known))}; "
        f"unknown {share(int(unknown.sum()), len(unknown))} (predicted {expected}); "
        f"disagreement of known {share(wrong, int(known.sum()), 2)}, "
        f"overall {share(wrong + int(unknown.sum()), int(known.sum() + unknown.sum()), 2)}"
    )


def share(part: int, whole: int, digits: int = 1) -> str:
    """Return a share with its counts and exact 95% interval."""
    if not whole:
        return "none"
    low, high = (f"{end:.{digits}%}" for end in clopper_pearson(part, whole))
    return f"{part / whole:.{digits}%} ({part} of {whole}, {low} to {high})"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--encoder", default="", help="a sentence encoder: hub id or folder")
    options.add_argument("--data", nargs="*", default=list(NAMES), choices=NAMES)
    options.add_argument("--epsilon", type=float, default=0.05)
    options.add_argument("--seed", type=int, default=0, help="which answers are left out")
    options.add_argument("--floor", type=float, nargs="*", default=[LoopSettings().floor])
    options.add_argument("--develop", action="store_true", help="read no test split")
    chosen = options.parse_args()
    print(about("benchmarks/novelty.py"))
    print(f"delta {DELTA:.0%}, first attempt: {spent(DELTA, 1):.2%} spent; seed {chosen.seed}")
    encoder = open_encoder(chosen.encoder) if chosen.encoder else None
    splits = {name: SETS[name]() for name in NAMES}
    if chosen.develop:
        splits = {name: developing(split) for name, split in splits.items()}
    for name in chosen.data:
        others = [split for other, split in splits.items() if other != name]
        out = left_out(splits[name], chosen.seed)
        worlds = [("left out", out)] if out is not None else []
        worlds.append(("mixed in", mixed_in(splits[name], others, chosen.seed)))
        for kind, world in worlds:
            run(kind, world, None, chosen.epsilon, chosen.floor)
            if encoder is not None:
                run(kind, world, encoder, chosen.epsilon, chosen.floor)


if __name__ == "__main__":
    main()
