"""Two tasks that a teacher knows, what clients ask of them, and what it answers."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

from made_up import COMMON, QUEUES
from teacher import Asked, respond

URGENCIES = {
    "urgent": "immediately asap deadline emergency critical blocked outage now",
    "normal": "week soon question update follow reply schedule usual",
    "low": "whenever someday idea suggestion minor eventually cosmetic nice",
}
TASKS = {
    "You sort support tickets into queues. Answer with the queue alone.": QUEUES,
    "Say how urgent this message is, in a single word and nothing else.": URGENCIES,
}
ANSWER = (
    b'{"id":"%s","model":"big","choices":'
    b'[{"index":0,"message":{"content":"%s"},"finish_reason":"stop"}]}'
)


def write(rng: random.Random, system: str, number: int) -> str:
    """Write what a client asks of a task; the number makes it the only one of its kind."""
    words = TASKS[system]
    own = words[rng.choice(list(words))].split()
    common = COMMON.split()
    chosen = [rng.choice(own if rng.random() < 0.6 else common) for _ in range(7)]
    return " ".join([*chosen, rng.choice(own), str(number)])


def answer(system: str, text: str) -> str:
    """Return what the teacher says: the label that most words are of."""
    said = text.split()
    words = TASKS[system]
    return max(words, key=lambda label: len([w for w in said if w in words[label].split()]))


def answers(*changed: str) -> Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]:
    """Make a teacher's answers to these tasks; of those that changed it thinks otherwise now."""

    async def say(asked: Asked, writer: asyncio.StreamWriter) -> None:
        system, text = (message["content"] for message in json.loads(asked.body)["messages"])
        said = answer(system, text)
        if system in changed:
            # Another label of the same task for each, so that no student is right any more.
            labels = list(TASKS[system])
            said = labels[(labels.index(said) + 1) % len(labels)]
        await asyncio.sleep(0.01)
        writer.write(respond(ANSWER % (b"t-%d" % random.getrandbits(64), said.encode())))

    return say
