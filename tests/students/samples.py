"""Inputs that tests of students share."""

import random

Inputs = tuple[str, ...]

WORDS = [f"{a}{b}{c}" for a in "bdfkmt" for b in "aeiou" for c in ("lon", "rix", "sup", "v")]

HOSTILE = [
    ("",),
    (" \t\n ",),
    ("x" * 1_000_000,),
    ("\0",),
    ("a\0b \x1f",),
    ("🙈🙉🙊 👩‍👩‍👧",),
    ("\ud800 broken \udfff",),
    ("请把我的卡寄到新地址",),
    ("أين بطاقتي من فضلك",),
    ("qqq zzz " * 20_000,),
    ("?!… ---",),
    (),
]


def traffic(n: int, answers: int, seed: int = 0) -> tuple[list[Inputs], list[str]]:
    """Return inputs whose answer a word gives away among others, half of them repeats."""
    draw = random.Random(seed)
    inputs: list[Inputs] = []
    labels: list[str] = []
    for i in range(n):
        if inputs and draw.random() < 0.2:
            known = draw.randrange(len(inputs))
            inputs.append(inputs[known])
            labels.append(labels[known])
            continue
        label = i % answers
        words = [f"topic{label}", f"kind{label}", *draw.sample(WORDS, 4)]
        draw.shuffle(words)
        inputs.append((" ".join(words),))
        labels.append(f"answer {label}")
    return inputs, labels
