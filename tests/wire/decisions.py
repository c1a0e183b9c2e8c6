"""Requests and answers of the APIs for typed questions, as their vendors write them."""

import json
from typing import Any

from openwheel.wire import Answer

TEXT = "I was charged twice. Please help."

ANSWERS = (
    Answer("true", probabilities=(("true", 0.98), ("false", 0.02))),
    Answer("billing", probabilities=(("billing", 0.9), ("technical", 0.06), ("other", 0.04))),
    Answer("2", probabilities=(("0", 0.1), ("1", 0.2), ("2", 0.7))),
)
"""Of the three questions of each request below."""

QUESTIONS: dict[str, list[Any]] = {
    "decisions": [
        {"type": "predicate", "name": "paid", "instructions": "Is it about a payment?"},
        {
            "type": "choice",
            "instructions": "Which queue?",
            "choices": [
                {"value": "billing", "description": "Money"},
                {"value": "technical"},
                {"value": "other"},
            ],
        },
        {
            "type": "score",
            "name": "urgency",
            "instructions": "How urgent is it?",
            "levels": [{"label": "can wait"}, {"label": "soon"}, {"label": "now"}],
        },
    ],
    "systemone": [
        {"type": "noul", "instructions": "Is it about a payment?"},
        {
            "type": "choice",
            "instructions": "Which queue?",
            "criteria": {"billing": "Money", "technical": None, "other": None},
        },
        {
            "type": "score",
            "instructions": "How urgent is it?",
            "criteria": ["can wait", "soon", "now"],
        },
    ],
}
NAMES = ("paid", "queue", "urgency")


def asking(
    api: str, *places: int, text: Any = TEXT, questions: list[Any] | None = None, **fields: Any
) -> bytes:
    """Return the body of a request with some of the questions, by default all."""
    asked = questions or QUESTIONS[api]
    chosen = places or range(len(asked))
    if api == "decisions":
        body = {"model": "m", "input": text, "questions": [asked[i] for i in chosen]}
    else:
        by_name = {NAMES[i]: asked[i] for i in chosen}
        body = {"model": "m", "state": text, "questions": by_name}
    return json.dumps({**body, **fields}).encode()


def answering(api: str, *places: int, **fields: Any) -> bytes:
    """Return a teacher's answer to some of the questions, by default all."""
    chosen = places or range(3)
    if api == "decisions":
        levels = zip(("can wait", "soon", "now"), (0.1, 0.2, 0.7), strict=True)
        answers: list[Any] = [
            {"type": "predicate", "name": "paid", "probability": 0.98},
            {
                "type": "choice",
                "name": None,
                "choice": "billing",
                "confidence": 0.9,
                "probabilities": [
                    {"value": value, "probability": chance}
                    for value, chance in ANSWERS[1].probabilities
                ],
            },
            {
                "type": "score",
                "name": "urgency",
                "score": 1.6,
                "confidence": 0.7,
                "probabilities": [
                    {"value": i, "label": label, "probability": chance}
                    for i, (label, chance) in enumerate(levels)
                ],
            },
        ]
        usage = {
            "input_tokens": 61,
            "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 64,
        }
        said: Any = [answers[i] for i in chosen]
    else:
        answers = [
            {"type": "noul", "noul": 0.98},
            {
                "type": "choice",
                "choice": "billing",
                "confidence": 0.9,
                "probabilities": dict(ANSWERS[1].probabilities),
            },
            {
                "type": "score",
                "score": 1.6,
                "confidence": 0.7,
                "legend": {"0": "can wait", "1": "soon", "2": "now"},
                "probabilities": dict(ANSWERS[2].probabilities),
            },
        ]
        usage = {"input_tokens": 61, "output_tokens": 3}
        said = {NAMES[i]: answers[i] for i in chosen}
    return json.dumps({"model": "big-1", "answers": said, "usage": usage, **fields}).encode()
