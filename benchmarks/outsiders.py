"""What one key's odd requests do to a task, and how often a key is put outside.

Run: python benchmarks/outsiders.py
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from openwheel.loop.offline.learn import learn
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.choose import Stream
from openwheel.loop.turn.outsiders import misfits
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

ODD: Final = "odd"
COMMON: Final = (
    *("the", "my", "please", "since", "again", "about", "with"),
    *("help", "today", "still", "it", "is", "not"),
)
QUEUES: Final = {
    "billing": ["invoice", "payment", "refund", "charge", "receipt", "tax", "amount", "card"],
    "delivery": ["parcel", "courier", "late", "address", "tracking", "shipment", "depot", "van"],
    "account": ["password", "login", "email", "profile", "username", "locked", "reset", "phone"],
    "product": ["broken", "screen", "battery", "button", "noise", "scratch", "warranty", "part"],
}


def tickets(n: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return made-up tickets, and the queues that their words give away."""
    rng, rows = random.Random(seed), []
    for _ in range(n):
        queue = rng.choice(list(QUEUES))
        own = QUEUES[queue]
        words = [rng.choice(own) if rng.random() < 0.6 else rng.choice(COMMON) for _ in range(5)]
        # A number makes inputs distinct, which real ones mostly are.
        rows.append((" ".join([*words, rng.choice(own), str(rng.randrange(10**6))]), queue))
    return rows


def answer(kind: str, rng: random.Random, queue: str) -> str:
    """Return an odd answer."""
    if kind == "unique":
        return f"code {rng.getrandbits(30):x}"
    if kind == "shape":
        return json.dumps({"queue": queue, "n": rng.randrange(10**6)})
    return rng.choice(list(QUEUES))


def attack(kind: str, odd: int, *, keys: bool) -> str:
    """Return what came of 1,500 exchanges with some odd ones among them."""
    rng = random.Random(5)
    rows = [(text, queue, "desk") for text, queue in tickets(1_500)]
    rows += [(text, answer(kind, rng, queue), ODD) for text, queue in tickets(odd, seed=9)]
    rng.shuffle(rows)
    exchanges = []
    for i, (text, said, key) in enumerate(rows):
        messages = [{"role": "user", "content": f"Name the queue: {text}"}]
        exchanges.append(
            Exchange(
                id=f"e{i}",
                time=1.7e9 + 60 * i,
                request=json.dumps({"model": "m", "messages": messages}).encode(),
                answer=Answer(said),
                source="teacher",
                model="m",
                teacher="big",
                key=key if keys else "",
            )
        )
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "db") as store:
        store.append(exchanges)
        (found,) = learn(store, LoopSettings(), source="made up").tasks
    if not found.certified:
        return f"{found.form}, not certified"
    return f"{found.form}, {found.coverage:.1%} of {found.n_calibration}"


def by_chance(rate: float, keys: int, runs: int) -> int:
    """Return in how many tasks some key is put outside, where keys differ by chance alone."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(runs):
        confidence = rng.beta(4, 1, 2_000)
        chance = np.clip((1 - confidence) * rate * 5, 0, 1)
        losses = (rng.random(2_000) < chance).astype(float)
        names = [f"k{i}" for i in rng.integers(0, keys, 2_000)]
        stream = Stream(confidence, losses, names)
        found += bool(misfits(stream, LoopSettings(), inside=(), most=500))
    return found


def power(size: int, odd: float, runs: int) -> float:
    """Return how often a key is put outside that disagrees on a share of its exchanges."""
    rng, found = np.random.default_rng(2), 0
    for _ in range(runs):
        confidence = rng.beta(8, 1, 1_500 + size)
        chance = np.where(np.arange(1_500 + size) < 1_500, (1 - confidence) * 0.2, odd)
        losses = (rng.random(1_500 + size) < chance).astype(float)
        stream = Stream(confidence, losses, ["desk"] * 1_500 + [ODD] * size)
        found += [one.key for one in misfits(stream, LoopSettings(), inside=(), most=400)] == [ODD]
    return found / runs


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=150)
    runs = parser.parse_args().runs
    for rate in (0.04, 0.15):
        for keys in (3, 20, 200):
            print(f"{keys} keys that differ by chance, rate {rate:.0%}: outside in "
                  f"{by_chance(rate, keys, runs)} of {runs} tasks")  # fmt: skip
    for size in (5, 10, 20, 45):
        shares = ", ".join(f"{odd:.0%}: {power(size, odd, runs):.0%}" for odd in (0.15, 0.3, 1.0))
        print(f"a key of {size} exchanges is outside, by the share it disagrees on: {shares}")
    attacks = [("unique", 0), ("unique", 45), ("unique", 90), ("unique", 180), ("shape", 60),
               ("shape", 120), ("lies", 45), ("lies", 150)]  # fmt: skip
    for kind, odd in attacks:
        print(f"{odd} {kind}: with keys {attack(kind, odd, keys=True)}; "
              f"without {attack(kind, odd, keys=False)}")  # fmt: skip


if __name__ == "__main__":
    main()
