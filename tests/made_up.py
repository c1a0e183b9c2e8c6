"""Made-up traffic that several folders of tests learn from."""

import json
import random
from pathlib import Path
from typing import Any

COMMON = "the my please since again about with help today still it is not"
QUEUES = {
    "billing": "invoice payment refund charge receipt tax amount card",
    "delivery": "parcel courier late address tracking shipment depot van",
    "account": "password login email profile username locked reset phone",
    "product": "broken screen battery button noise scratch warranty part",
}


def ticket(rng: random.Random, queue: str, *, words: int = 5) -> str:
    """Return a made-up ticket that the words of its queue give away."""
    common = COMMON.split()
    own = QUEUES[queue].split()
    chosen = [rng.choice(own) if rng.random() < 0.6 else rng.choice(common) for _ in range(words)]
    # A number makes inputs distinct, which real ones mostly are.
    return " ".join([*chosen, rng.choice(own), str(rng.randrange(10**6))])


def tickets(n: int, *, seed: int = 0, noise: float = 0.0) -> list[dict[str, str]]:
    """Return input/output pairs in random order; ``noise`` of the answers are random."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        queue = rng.choice(list(QUEUES))
        text = ticket(rng, queue)
        rows.append(
            {"input": text, "output": rng.choice(list(QUEUES)) if rng.random() < noise else queue}
        )
    return rows


def write_log(path: Path, rows: list[Any], *, timed: bool = True) -> Path:
    """Write rows as JSON Lines; pairs of an input and an output get a time each, in order."""
    lines = []
    for i, row in enumerate(rows):
        pair = (
            timed
            and isinstance(row, dict)
            and "input" in row
            and "output" in row
            and "time" not in row
        )
        lines.append(json.dumps({**row, "time": 1_700_000_000 + 60 * i} if pair else row) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path
