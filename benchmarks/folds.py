"""What it costs to make answers canonical, with folds and without, and to say which would help.

Run: python benchmarks/folds.py [--answers 5000]
"""

import argparse
import datetime
import random
import time
from collections.abc import Callable

from openwheel import __version__
from openwheel.tasks import canonical_answer, infer_form
from openwheel.tasks.folds import FOLDS, read_folds
from openwheel.tasks.hints import in_the_way
from openwheel.wire import Answer
from validity import machine

NAMES = ("refund", "delivery", "login", "praise")
WORDS = ("parcel", "van", "late", "money", "box", "card", "screen", "wet", "refused", "again")


def kinds(n: int) -> dict[str, list[Answer]]:
    """Return answers of several kinds, the same at each run."""
    rng = random.Random(0)

    def matter(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    texts: dict[str, Callable[[], str]] = {
        "labels, four": lambda: rng.choice(NAMES),
        "labels, four in eight spellings": lambda: rng.choice(["**{}**", "{}."]).format(
            rng.choice(NAMES)
        ),
        "labels, all different": lambda: f"Label: {matter(3)} {rng.random()}.",
        "JSON objects, four": lambda: f'{{"queue": "{rng.choice(NAMES)}", "urgent": false}}',
        "reasoning of 60 words, then a label": lambda: (
            f"{matter(60)}.\nAnswer: {rng.choice(NAMES)}"
        ),
    }
    return {name: [Answer(make()) for _ in range(n)] for name, make in texts.items()}


def microseconds(answers: list[Answer], folds: tuple[str, ...]) -> float:
    """Return the CPU time of one canonical answer."""
    started = time.process_time()
    for answer in answers:
        canonical_answer(answer, "label", folds)
    return (time.process_time() - started) / len(answers) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--answers", type=int, default=5_000)
    n = parser.parse_args().answers
    sets = {
        "none": (),
        "case, stop": read_folds(["case", "stop"]),
        "six around": read_folds(["invisible", "width", "case", "stop", "quotes", "emphasis"]),
        "all but explanation": read_folds([name for name in FOLDS if name != "explanation"]),
    }
    print(
        f"{datetime.date.today()}, {machine()}; Openwheel {__version__}; {n:,} answers a line, CPU "
        f"µs of one.\n\n| answers | {' | '.join(sets)} | form, ms | what helps, ms |\n"
        f"|{'---|' * (len(sets) + 3)}"
    )
    for name, answers in kinds(n).items():
        cells = [f"{microseconds(answers, folds):.1f}" for folds in sets.values()]
        started = time.process_time()
        form = infer_form(answers).form
        between = time.process_time()
        in_the_way([answer.text for answer in answers], "desk", (), form)
        ended = time.process_time()
        cells += [f"{(between - started) * 1e3:.0f}", f"{(ended - between) * 1e3:.0f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
