"""Poisoning: what attackers who hold 5% of the keys can have a student answer wrongly.

Each run is the whole loop: a store, 40 keys, traffic of a made-up routing task that a teacher
answers rightly, feedback through the product's own function, one turn with a linear student, and
then fresh requests to whoever was promoted. Two keys are the attackers'. All that they send is of
one kind (a warranty claim, 4% of everybody's traffic, less than epsilon), the same inputs from both
so that they confirm each other, and all of it they correct to the same wrong answer.

"no defence" believes every key as the product believes a key of high trust; "normal" has given the
attackers' keys normal trust by mistake; "default" leaves them at low trust. Beside them: no attack.

Exit code 1 if the default lets a student through whose share of wrong answers is above epsilon more
often than the promise allows (lower end of the exact 95% interval above delta).
Run: python benchmarks/poisoning.py [--runs 20] [--seed 0]
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openwheel.access import KeyStore, Trust
from openwheel.gate import clopper_pearson
from openwheel.loop.feedback.desk import Feedback, FeedbackDesk, Speaker
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing, settled
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import curate
from openwheel.loop.turn.turn import turn
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

KEYS: Final = 40
ATTACKERS: Final = 2
EXCHANGES: Final = 2_400
FRESH: Final = 2_000
KIND_SHARE: Final = 0.04
EPSILON: Final = 0.05
DELTA: Final = 0.05
WRONG: Final = "billing"
RIGHT: Final = "returns"
QUEUES: Final = {
    "billing": "invoice payment refund charge receipt tax amount card",
    "delivery": "parcel courier late address tracking shipment depot van",
    "account": "password login email profile username locked reset phone",
    "product": "broken screen battery button noise scratch part cable",
}
KIND: Final = "warranty claim proof guarantee expired covers repair replacement"
COMMON: Final = "the my please since again about with help today still it is not"
ARMS: Final[dict[str, Trust | None]] = {
    "no attack": None,
    "no defence": "high",
    "normal": "normal",
    "default": "low",
}


@dataclass(frozen=True)
class Outcome:
    """What one run came to; counts are of fresh requests."""

    promoted: bool
    answered: int = 0
    wrong: int = 0
    kind: int = 0
    kind_answered: int = 0
    kind_wrong: int = 0


def ticket(rng: random.Random, *, kind: bool) -> tuple[str, str]:
    queue = RIGHT if kind else rng.choice(list(QUEUES))
    own = (KIND if kind else QUEUES[queue]).split()
    words = [rng.choice(own if rng.random() < 0.6 else COMMON.split()) for _ in range(6)]
    return f"{' '.join(words)} {rng.choice(own)} {rng.randrange(10**6)}", queue


def exchange(number: int, text: str, answer: str, key: str) -> Exchange:
    messages = [{"role": "system", "content": "Route it."}, {"role": "user", "content": text}]
    return Exchange(
        id=f"e{number}",
        time=1_000.0 + number,
        request=json.dumps({"model": "m", "messages": messages}).encode(),
        answer=Answer(answer),
        source="teacher",
        model="m",
        key=key,
    )


def traffic(rng: random.Random) -> tuple[list[Exchange], list[tuple[str, int]]]:
    """Return exchanges, and which of them which attacker corrects."""
    rows: list[Exchange] = []
    attacks: list[tuple[str, int]] = []
    same: list[str] = []
    sent = [0] * ATTACKERS
    for number in range(EXCHANGES):
        key = rng.randrange(KEYS)
        if key < ATTACKERS:
            if sent[key] == len(same):
                same.append(ticket(rng, kind=True)[0])
            text, answer = same[sent[key]], RIGHT
            sent[key] += 1
            attacks.append((f"key-{key}", number))
        else:
            text, answer = ticket(rng, kind=rng.random() < KIND_SHARE)
        rows.append(exchange(number, text, answer, f"key-{key}"))
    return rows, attacks


def run(seed: int, trust: Trust | None) -> Outcome:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "x.db") as store:
        keys = KeyStore(store, clock=lambda: 0.0)
        speakers = {}
        for number in range(KEYS):
            level: Trust = trust if trust and number < ATTACKERS else "low"
            key, _ = keys.create(f"key-{number}", trust=level)
            speakers[key.name] = Speaker(key.id, key.name, key.created, anywhere=False)
        rows, attacks = traffic(rng)
        store.append(rows)
        curate(store, Registry(store))
        desk = FeedbackDesk(store)
        for name, number in attacks if trust else ():
            desk.take(Feedback(f"e{number}", correction=WRONG), speakers[name])
        turn(store, LoopSettings(epsilon=EPSILON, delta=DELTA, rungs=("linear",)))
        serving = RegistryServing(Registry(store))
        serving.refresh()
        if not serving.students():
            return Outcome(promoted=False)
        return measure(rng, serving)


def measure(rng: random.Random, serving: RegistryServing) -> Outcome:
    answered = wrong = kinds = kind_answered = kind_wrong = 0
    for number in range(FRESH):
        kind = rng.random() < KIND_SHARE
        text, right = ticket(rng, kind=kind)
        kinds += kind
        decision = settled(serving.decide(exchange(number, text, right, "").read(), ""))
        if decision.answer is not None:
            answered += 1
            wrong += decision.answer != right
            kind_answered += kind
            kind_wrong += kind and decision.answer != right
    return Outcome(True, answered, wrong, kinds, kind_answered, kind_wrong)


def told(name: str, runs: list[Outcome]) -> tuple[str, float]:
    """Return a line of the table, and the lower end of how often epsilon was passed."""
    promoted = [one for one in runs if one.promoted]
    beyond = sum(one.wrong > EPSILON * one.answered for one in promoted)
    low, high = clopper_pearson(beyond, len(runs))

    def total(of: Callable[[Outcome], int]) -> int:
        return sum(of(one) for one in promoted)

    answered, kinds = total(lambda one: one.answered), total(lambda one: one.kind)
    wrong, kind_wrong = total(lambda one: one.wrong), total(lambda one: one.kind_wrong)
    ends = clopper_pearson(kind_wrong, kinds) if kinds else (0.0, 1.0)
    cells = [
        name,
        f"{len(promoted)} of {len(runs)}",
        f"{answered / (FRESH * len(runs)):.3f}",
        f"{wrong / max(answered, 1):.4f}",
        f"{kind_wrong} of {kinds} ({ends[0]:.3f} to {ends[1]:.3f})",
        f"{beyond} of {len(runs)} ({low:.3f} to {high:.3f})",
    ]
    return f"| {' | '.join(cells)} |", low


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.process_time()
    print("| arm | promoted | coverage | wrong of answered | kind answered wrongly | > epsilon |")
    print("|---|---|---|---|---|---|")
    broken = False
    for name, trust in ARMS.items():
        runs = [run(options.seed + number, trust) for number in range(options.runs)]
        line, low = told(name, runs)
        print(line, flush=True)
        broken |= name == "default" and low > DELTA
    print(f"\n{time.process_time() - started:.0f} s of CPU.")
    return int(broken)


if __name__ == "__main__":
    raise SystemExit(main())
