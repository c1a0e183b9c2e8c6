"""Typed questions, as OpenAI and TypeSafe answer them: the first answer is the likeliest."""

from typing import Any

Json = dict[str, Any]


def decisions(request: Json) -> Json:
    """Answer ``POST /v1/decisions``."""
    if not isinstance(request["input"], str | list):
        raise TypeError("input")
    answers = [_decision(question) for question in request["questions"]]
    if not answers:
        raise ValueError("no questions")
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": len(answers),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12 + len(answers),
    }
    return {"answers": answers, "model": request["model"], "usage": usage}


def _decision(question: Json) -> Json:
    name, kind = question.get("name"), question["type"]
    if kind == "predicate":
        return {"type": kind, "name": name, "probability": 0.75}
    if kind == "choice":
        values = [one["value"] for one in question["choices"]]
        if not all(isinstance(value, str | bool) for value in values):
            raise TypeError("value")
        pairs = zip(values, _chances(len(values)), strict=True)
        listed = [{"value": value, "probability": chance} for value, chance in pairs]
        confidence = listed[0]["probability"]
        return {
            "type": kind,
            "name": name,
            "choice": values[0],
            "confidence": confidence,
            "probabilities": listed,
        }
    if kind != "score":
        raise ValueError(kind)
    labels = [one["label"] for one in question["levels"]]
    chances = _chances(len(labels))
    return {
        "type": kind,
        "name": name,
        "score": sum(level * chance for level, chance in enumerate(chances)),
        "confidence": chances[0],
        "probabilities": [
            {"value": level, "label": label, "probability": chance}
            for level, (label, chance) in enumerate(zip(labels, chances, strict=True))
        ],
    }


def system_one(request: Json) -> Json:
    """Answer ``POST /v1/systemone``."""
    if not isinstance(request["state"], str | dict | list):
        raise TypeError("state")
    answers = {name: _answer(question) for name, question in request["questions"].items()}
    if not answers:
        raise ValueError("no questions")
    usage = {"input_tokens": 12, "output_tokens": len(answers)}
    return {"model": request["model"], "answers": answers, "usage": usage}


def _answer(question: Json) -> Json:
    kind, criteria = question["type"], question.get("criteria")
    if kind == "noul":
        return {"type": kind, "noul": 0.75}
    if kind == "choice":
        chances = dict(zip(criteria.keys(), _chances(len(criteria)), strict=True))
        chosen = next(iter(chances))
        return {
            "type": kind,
            "choice": chosen,
            "confidence": chances[chosen],
            "probabilities": chances,
        }
    if kind != "score" or not isinstance(criteria, list):
        raise ValueError(kind)
    chances = {str(level): chance for level, chance in enumerate(_chances(len(criteria)))}
    return {
        "type": kind,
        "score": sum(int(level) * chance for level, chance in chances.items()),
        "confidence": chances["0"],
        "legend": {str(level): meant for level, meant in enumerate(criteria)},
        "probabilities": chances,
    }


def _chances(number: int) -> list[float]:
    """Return probabilities of which the first is the largest."""
    if not number:
        raise ValueError("no answers")
    rest = 0.25 / (number - 1) if number > 1 else 0.0
    return [0.75 if number > 1 else 1.0, *([rest] * (number - 1))]
