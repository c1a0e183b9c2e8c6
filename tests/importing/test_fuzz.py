"""Lines of every format with bytes and words changed: read, skipped or bad, with a reason."""

import json
import random

import pytest

from log_shapes import SHAPES
from openwheel.importing import LogProblems, read_log
from openwheel.importing.read import ODD

LINES = [json.dumps(shape.record).encode() for shape in SHAPES]
LINES += [b"text,label,error", b'"a, b",x,None', b"<|im_start|>user\na<|im_end|>"]
VALUES = b"null NaN -1 1e999 true [] {} [[]] [null] [3] 99999999999999999999999999 0.5".split()
VALUES += [b'""', b'"x"', b'{"": 0}', b'{"role": []}', b'[{"type": {}}]', b'"\\ud83d"']
PIECES = [*b'{ } [ ] , : " \' \\ data: "role" "content" "choices" "type" \\ud83d'.split(), *VALUES]
PIECES += [b"\n", b"\r", b"\x1e", b"\xff", b"\t"]


def mutated(rng: random.Random) -> bytes:
    """Return a line with one to four changes."""
    line = bytearray(rng.choice(LINES))
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(line) + 1)
        match rng.randrange(5):
            case 0:
                line[place : place + rng.randint(1, 30)] = b""
            case 1:
                line[place:place] = rng.choice(PIECES)
            case 2:
                line[place : place + 1] = bytes([rng.randrange(1, 256)])
            case 3:
                other = rng.choice(LINES)
                cut = rng.randrange(len(other))
                line[place : place + 40] = other[cut : cut + 40]
            case _:
                # A value in the place of another, so that the line stays JSON.
                values = [i for i in range(len(line) - 1) if line[i : i + 2] == b": "]
                if values:
                    start = rng.choice(values) + 2
                    line[start:start] = rng.choice(VALUES) + b', "x": '
    return bytes(line)


def check(path, seed: int, n: int) -> None:
    """Read a file of mutated lines."""
    rng = random.Random(seed)
    # The first line says that it is no array.
    path.write_bytes(b"\n".join([LINES[0], *(mutated(rng) for _ in range(n))]))
    problems = LogProblems()
    found = 0
    for exchange in read_log(path, problems=problems):
        exchange.prompt()
        answer = exchange.answer
        assert answer.text.strip() or answer.tool_calls or not answer.complete
        found += 1
    assert problems.usable == found
    assert problems.lines >= found
    assert not [bad for bad in problems.first_bad if ODD in bad.reason]


def test_mutated_lines(tmp_path):
    for seed in range(250):
        check(tmp_path / "log", seed, 8)


@pytest.mark.evidence
def test_a_million_mutated_lines(tmp_path):
    for seed in range(100_000):
        check(tmp_path / "log", 1_000_000 + seed, 10)


def test_a_text_that_only_looks_like_python_is_read_without_a_word(tmp_path):
    path = tmp_path / "log"
    path.write_text(json.dumps({"text": "[1or 2, 'a']", "label": "x"}))
    (exchange,) = read_log(path, problems=LogProblems())
    assert exchange.prompt().messages[0].text == "[1or 2, 'a']"
