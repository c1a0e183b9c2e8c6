"""Made-up requests and the records that a teacher makes of them."""

import json
import random
from typing import Any

SYLLABLES = "ba be bo da de do fa fe ga go ka ke la le lo ma me mo na ne no ra re ro sa se ta te to"
KINDS = {
    "order": ("please send", "i would like", "order", "we need"),
    "refund": ("refund", "money back for", "take back", "i want to return"),
    "complaint": ("broken:", "it is about a damaged", "very unhappy with", "complaint on"),
}
THINGS = ("lamps", "chairs", "desk fans", "shelves", "door handles", "rugs", "clocks", "mirrors")
MONTHS = ("January", "March", "May", "July", "August", "October")


def name_of(rng: random.Random) -> str:
    """Return a name that hardly comes twice."""
    parts = ["".join(rng.choices(SYLLABLES.split(), k=rng.randint(2, 3))) for _ in range(2)]
    return " ".join(parts)


def order(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Return a request and its record: labels, rendered spans, numbers, dates, lists, nesting."""
    kind = rng.choice(list(KINDS))
    name, things = name_of(rng), rng.sample(THINGS, rng.choice((1, 1, 2)))
    number, day, month = rng.randint(2, 90), rng.randint(1, 28), rng.randrange(len(MONTHS))
    said = f"{rng.choice(KINDS[kind])} {number} {' and '.join(things)}"
    asked = rng.choice((f"{said}, this is {name}", f"{name} here, {said}", f"{said} for {name}"))
    record: dict[str, Any] = {"kind": kind, "customer": {"name": name.title()}, "count": number}
    record["items"] = things
    if rng.random() < 0.6:
        asked += f" by {MONTHS[month]} {day}, 2026"
        number_of_month = (1, 3, 5, 7, 8, 10)[month]
        record["due"] = f"2026-{number_of_month:02}-{day:02}"
    else:
        record["due"] = None
    record["source"] = "mail"
    return asked, record


def orders(n: int, *, seed: int = 0, **style: Any) -> list[dict[str, str]]:
    """Return input/output pairs; the outputs are JSON in a style of `json.dumps`."""
    rng = random.Random(seed)
    made = [order(rng) for _ in range(n)]
    return [{"input": text, "output": json.dumps(record, **style)} for text, record in made]
