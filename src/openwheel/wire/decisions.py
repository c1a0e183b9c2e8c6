"""``POST /v1/decisions``, typed questions about an input, as an `Api`.

Source: the `openai` package, version 3.57: `types/decision.py`, `types/decision_create_params.py`.
A score's levels are counted from 0 (Fireworks, "Decisions API").
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from openwheel.errors import RequestError, TeacherError
from openwheel.wire.answer import Answer, Reply, Usage
from openwheel.wire.api import Api, Questions
from openwheel.wire.content import check_error
from openwheel.wire.prompt import Prompt, canonical_json
from openwheel.wire.question import (
    Question,
    chances_of,
    check_chance,
    check_distribution,
    described,
    encode,
    expectation,
    joined_text,
    predicate_answer,
    remembered,
    score_answer,
    text_of_value,
    usage_shares,
)
from openwheel.wire.request import Request, settings_of
from openwheel.wire.tools import PromptMessage
from openwheel.wire.usage import read_counts

_NEUTRAL = frozenset(
    {
        "input",
        "questions",
        "prompt_cache_key",
        "prompt_cache_options",
        "safety_identifier",
        "user",
        "metadata",
    }
)
_ROLES: Final = ("user", "assistant", "system", "developer")
_TEXTS: Final = ("input_text", "output_text")


class _Request(msgspec.Struct):
    """The fields that are looked at."""

    input: str | list[Any]
    questions: list[msgspec.Raw]
    model: str = ""


class _Choice(msgspec.Struct):
    value: str | bool
    description: str | None = None


class _Level(msgspec.Struct):
    label: str
    description: str | None = None


class _Question(msgspec.Struct):
    type: str
    instructions: str | list[Any] | None = None
    name: str | None = None
    choices: list[_Choice] = []
    levels: list[_Level] = []


class _Decision(msgspec.Struct):
    answers: list[msgspec.Raw] | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


_request_decoder = msgspec.json.Decoder(_Request)
_question_decoder = msgspec.json.Decoder(_Question)
_decoder = msgspec.json.Decoder(_Decision)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_questions = msgspec.json.Decoder(list[msgspec.Raw])
_answer_decoder = msgspec.json.Decoder(dict[str, Any])


class _Read(msgspec.Struct, frozen=True):
    """A question as it was read: whether text says it all, and what an answer repeats."""

    question: Question
    text: str
    plain: bool
    name: str | None


def split(body: bytes) -> list[Request]:
    """Read each question of a request as a request of its own; see `Questions`."""
    try:
        request = _request_decoder.decode(body)
        if not request.questions:
            raise RequestError("The request body has no questions: at least one is needed")
        read = [_read_question(raw) for raw in request.questions]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a decision request: {error}") from None
    text, plain = _input(request.input)
    message = (PromptMessage("user", text),)
    settings = settings_of(body, _NEUTRAL)
    return [
        Request(
            prompt=Prompt(message, response_format=one.text, plain=plain and one.plain),
            model=request.model,
            settings=settings,
            echo={"question": one.question, "name": one.name},
        )
        for one in read
    ]


def only(body: bytes, rows: Sequence[int]) -> bytes:
    """Write a request that has some of another's questions; see `Questions`."""
    fields = _fields.decode(body)
    questions = _raw_questions.decode(fields["questions"])
    return encode({**fields, "questions": [questions[i] for i in rows]})


def alone(body: bytes) -> list[bytes]:
    """Write a request for each question; see `Questions`."""
    fields = _fields.decode(body)
    questions = _raw_questions.decode(fields["questions"])
    return [encode({**fields, "questions": [raw]}) for raw in questions]


def read_replies(body: bytes, requests: Sequence[Request]) -> list[Reply]:
    """Read the answer to each question; see `Questions`."""
    decision = _read(body)
    answers = decision.answers or []
    if len(answers) != len(requests):
        raise TeacherError(
            f"The answer is to {len(answers)} questions, and {len(requests)} were asked"
        )
    usage = usage_shares(_usage(decision), len(answers))
    return [
        Reply(_answer(raw), decision.model or "", counts)
        for raw, counts in zip(answers, usage, strict=True)
    ]


def read_decision(body: bytes) -> Reply:
    """Read a whole answer, to its first question; see `Api`."""
    decision = _read(body)
    if not decision.answers:
        raise TeacherError("The answer is not a decision: it has no answers")
    return Reply(_answer(decision.answers[0]), decision.model or "", _usage(decision))


def join(
    asked: Sequence[Request], answers: Mapping[int, Answer], body: bytes, rest: Sequence[int]
) -> bytes:
    """Write students' answers and a teacher's in the order of the questions; see `Questions`."""
    decision = _read(body)
    taught = dict(zip(rest, decision.answers or (), strict=True))
    written = [
        taught[i] if i in taught else _written(answers[i], request)
        for i, request in enumerate(asked)
    ]
    return encode({**_fields.decode(body), "answers": written})


def decisions_body(
    answers: Sequence[Answer],
    requests: Sequence[Request],
    usage: Usage | None = None,
    *,
    identity: str = "",  # noqa: ARG001 - an answer of this API has no id
) -> bytes:
    """Write answers to all questions of a request; see `Questions`."""
    usage = usage or Usage()
    written = [_written(answer, request) for answer, request in zip(answers, requests, strict=True)]
    return encode(
        {
            "answers": written,
            "model": requests[0].model,
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            },
        }
    )


def _new(raw: bytes) -> _Read:
    asked = _question_decoder.decode(raw)
    instructions, plain = _parts(asked.instructions)
    if asked.type == "predicate":
        question = Question("predicate", instructions)
    elif asked.type == "choice":
        pairs = described([(one.value, one.description) for one in asked.choices], "choices")
        question = Question("choice", instructions, pairs)
    elif asked.type == "score":
        pairs = described([(one.label, one.description) for one in asked.levels], "levels")
        question = Question("score", instructions, pairs)
    else:
        question = Question("other", msgspec.json.decode(raw))
    return _Read(question, question.text, plain and question.clear, asked.name)


_read_question = remembered(_new)


def _parts(content: Any) -> tuple[str, bool]:
    """Return the text of content, and whether text was all there was."""
    if content is None or isinstance(content, str):
        return content or "", True
    texts, plain = list[str](), True
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "input_json":
            texts.append(canonical_json(part.get("data")))
        elif kind in _TEXTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        else:
            plain = False
    return joined_text(texts), plain


def _input(asked: str | list[Any]) -> tuple[str, bool]:
    """Return the input as one text, and whether text was all there was.

    One message of a user is its text. Of several each has a line with its role before it.
    """
    if isinstance(asked, str):
        return asked, True
    said, plain = list[tuple[str, str]](), True
    for item in asked:
        role = item.get("role") if isinstance(item, dict) else None
        if role not in _ROLES or item.get("type", "message") != "message":
            plain = False  # calls of tools and their results
            continue
        text, is_text = _parts(item.get("content"))
        said.append((role, text))
        plain = plain and is_text
    if len(said) == 1 and said[0][0] == "user":
        return said[0][1], plain
    return "".join(f"<{role}>\n{text}\n" for role, text in said), plain


def _read(body: bytes) -> _Decision:
    try:
        decision = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The answer is not a decision: {error}") from None
    check_error(decision.error, "The answer is")
    return decision


def _usage(decision: _Decision) -> Usage | None:
    return read_counts(decision.usage, ("input_tokens",), "output_tokens")


def _answer(raw: msgspec.Raw) -> Answer:
    """Read one answer.

    Raises:
        TeacherError: It has not the fields of its type.
    """
    try:
        fields = _answer_decoder.decode(raw)
        kind = fields.get("type")
        if kind == "predicate":
            return predicate_answer(check_chance(fields["probability"]))
        if kind == "choice":
            pairs = [(text_of_value(p["value"]), p["probability"]) for p in fields["probabilities"]]
            return check_distribution(text_of_value(fields["choice"]), pairs)
        if kind == "score":
            by_level = {p["value"]: check_chance(p["probability"]) for p in fields["probabilities"]}
            return score_answer([by_level[level] for level in range(len(by_level))])
        return Answer("", (), "refusal" if kind == "refusal" else f"decision:{kind}")
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise TeacherError(f"The answer is not a decision: {error!r}") from None


def _written(answer: Answer, request: Request) -> dict[str, Any]:
    """Return one answer as the API has it."""
    question: Question = request.echo["question"]
    name = request.echo["name"]
    if answer.text not in question.answers:
        return {"type": "refusal", "name": name}
    chances = chances_of(answer, question)
    if question.type == "predicate":
        return {"type": "predicate", "name": name, "probability": chances[0]}
    if question.type == "choice":
        values = [value for value, _ in question.choices]
        chosen = question.answers.index(answer.text)
        return {
            "type": "choice",
            "name": name,
            "choice": values[chosen],
            "confidence": chances[chosen],
            "probabilities": [
                {"value": value, "probability": chance}
                for value, chance in zip(values, chances, strict=True)
            ],
        }
    levels = [
        {"value": level, "label": label, "probability": chance}
        for level, ((label, _), chance) in enumerate(zip(question.choices, chances, strict=True))
    ]
    mean = expectation(tuple(zip(question.answers, chances, strict=True)))
    return {
        "type": "score",
        "name": name,
        "score": round(mean or 0.0, 6),
        "confidence": max(chances),
        "probabilities": levels,
    }


_QUESTIONS: Final = Questions(
    split=split,
    only=only,
    alone=alone,
    read_replies=read_replies,
    join=join,
    body=decisions_body,
)
DECISIONS: Final = Api(
    name="decisions",
    path="/v1/decisions",
    read_request=_QUESTIONS.read_request,
    read_reply=read_decision,
    body=_QUESTIONS.write,
    questions=_QUESTIONS,
)
