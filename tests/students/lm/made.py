"""A made-up task, and the chat template of the tiny models."""

import random

from openwheel.tasks import Template
from openwheel.tasks.template import Part

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

COLOURS = ("red", "green", "blue", "yellow")
THINGS = ("car", "house", "boat", "kite", "lamp", "shoe", "door", "bird")
SYSTEM = "You name the colour of a thing. Answer with one word: " + ", ".join(COLOURS) + "."

TASK = Template((Part((SYSTEM,)), Part(), Part(("Thing: ", "\nColour:")), Part()))


def corpus() -> list[str]:
    texts = [f"{SYSTEM} Thing: the {thing} Colour: {c}" for thing in THINGS for c in COLOURS]
    return [*texts, "system user assistant <think> </think> not sure; ", '{"colour": "red"}'] * 3


def exchanges(n: int, *, seed: int = 0) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return inputs that name a colour among other words, and the colour."""
    draw = random.Random(seed)
    inputs: list[tuple[str, ...]] = []
    answers = []
    for _ in range(n):
        colour = draw.choice(COLOURS)
        words = [colour, *draw.sample(THINGS, 2), str(draw.randrange(1000))]
        draw.shuffle(words)
        inputs.append((" ".join(words),))
        answers.append(colour)
    return inputs, answers
