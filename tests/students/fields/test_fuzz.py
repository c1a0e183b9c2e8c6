"""Records of any shape are learned or refused, and nothing else happens."""

import json
import random

import pytest

from openwheel.students import train
from openwheel.tasks import canonical_answer
from openwheel.wire import Answer

WORDS = (
    *("red", "Blue", "3", "1,200", "$4.50", "4/6/2026", "ann\u2019s", "x-1", "5pm", "twenty-one"),
    *("\u4f60\u597d", "!!", "_", "caf\u00e9"),
)
KINDS = ("copy", "copy", "title", "word", "integer", "float", "list", "object", "rows", "odd", "")


def value(draw, words, depth=0):
    start = draw.randrange(len(words))
    kind = draw.choice(KINDS)
    if kind == "object" and depth < 3:
        return {
            draw.choice("abc"): value(draw, words, depth + 1) for _ in range(draw.randint(0, 2))
        }
    return {
        "copy": " ".join(words[start : start + draw.randint(1, 3)]),
        "title": words[start].title(),
        "word": draw.choice([True, False, None, "", "N/A"]),
        "integer": draw.randint(0, 5),
        "float": round(100 * draw.random(), 2),
        "list": [draw.choice(words) for _ in range(draw.randint(0, 3))],
        "rows": [{"n": draw.choice(words)} for _ in range(draw.randint(0, 2))],
        "odd": draw.choice(['\u00e9\n"x"', "$5", "\\", "{}"]),
    }.get(kind, [[1], {}])


def records(seed):
    draw = random.Random(seed)
    kinds = {name: draw.randrange(10**9) for name in "abcdef"[: draw.randint(1, 6)]}
    for _ in range(draw.choice((3, 8, 30, 70))):
        words = [draw.choice(WORDS) for _ in range(draw.randint(0, 8))]
        record = {
            name: value(random.Random(own) if draw.random() < 0.3 else draw, words or ["z"])
            for name, own in kinds.items()
            if draw.random() < 0.9
        }
        yield " ".join(words), json.dumps(record, ensure_ascii=draw.random() < 0.5)


@pytest.mark.parametrize(
    "seeds",
    [range(8), pytest.param(range(8, 400), marks=pytest.mark.evidence)],
    ids=["few", "many"],
)
def test_records_of_any_shape(seeds):
    learned = 0
    for seed in seeds:
        rows = list(records(seed))
        answers = [canonical_answer(Answer(text), "record") for _, text in rows]
        inputs = [(text,) for text, _ in rows]
        surfaces = dict(zip(answers, (text for _, text in rows), strict=True))
        more = {"variables": (0,), "form": "record", "surfaces": surfaces}
        try:
            student = train("linear", inputs, answers, **more).student
        except ValueError:
            continue
        learned += 1
        texts, confidence = student.answer([*inputs, ("",), ("q" * 50,)])
        assert ((confidence >= 0) & (confidence <= 1)).all()
        assert all(isinstance(json.loads(text), dict) for text in texts if text)
        assert [student.answer_one(values)[0] for values in inputs] == texts[: len(inputs)]
    assert learned
