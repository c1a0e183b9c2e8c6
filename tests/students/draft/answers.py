"""Captured answers, made up."""

import random

from openwheel.students.draft import Captured
from openwheel.wire import PromptMessage

CITIES = ["Oslo", "Lima", "Kyoto", "Accra", "Quito", "Hanoi"]
THINGS = ["card", "refund", "transfer", "account", "payment", "order"]


def captured(count, seed=0):
    """Answers with much that is always the same, as templated answers have."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        city, thing, number = draw.choice(CITIES), draw.choice(THINGS), draw.randint(2, 9)
        ask = f"Where is my {thing} from {city}?"
        answer = f"Your {thing} left {city} and will be with you in {number} days."
        found.append(Captured((PromptMessage("user", ask),), answer))
    return found
