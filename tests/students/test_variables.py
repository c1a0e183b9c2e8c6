import random

from openwheel.students.variables import choose_variables

from .samples import WORDS, traffic


def noise(draw):
    """A date, an id and a few-shot block drawn at random from other requests."""
    date = f"2026-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}"
    shots = [f"topic{draw.randrange(4)} {' '.join(draw.sample(WORDS, 3))}" for _ in range(6)]
    return date, f"TICKET-{draw.randrange(10**6)}", "\n".join(shots)


def test_noise_is_dropped_and_the_input_kept():
    draw = random.Random(0)
    inputs, answers = traffic(600, 4)
    for place in range(4):
        mixed = []
        for (text,) in inputs:
            values = list(noise(draw))
            values.insert(place, text)
            mixed.append(tuple(values))
        assert choose_variables(mixed, answers) == (place,)


def test_two_that_say_something_are_both_kept():
    draw = random.Random(0)
    mixed, answers = [], []
    for _ in range(600):
        colour, size = draw.choice(["red", "blue", "green"]), draw.choice(["big", "small"])
        subject = f"{colour} {draw.choice(WORDS)}"
        body = f"{draw.choice(WORDS)} {size} {draw.choice(WORDS)}"
        mixed.append((noise(draw)[0], subject, noise(draw)[1], body))
        answers.append(f"{colour} {size}")
    assert choose_variables(mixed, answers) == (1, 3)


def test_few_variables_or_rows():
    assert choose_variables([], []) == ()
    assert choose_variables([("a",), ("b",)], ["x", "y"]) == (0,)
    assert choose_variables([("a", "b")], ["x"]) in {(0,), (1,)}
    assert choose_variables([(), ("a",)], ["x", "y"]) == (0,)


def test_shorter_tuples_are_read_as_they_are():
    draw = random.Random(0)
    inputs, answers = traffic(300, 3)
    mixed = [(text, noise(draw)[1]) if i % 7 else (text,) for i, (text,) in enumerate(inputs)]
    assert choose_variables(mixed, answers) == (0,)
