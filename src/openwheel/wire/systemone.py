"""``POST /v1/systemone``, TypeSafe's typed questions about a state, as an `Api`.

Source: the `typesafe-sdk` package, version 0.7.5, whose models are made from the API's own schema.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from openwheel.errors import RequestError, TeacherError
from openwheel.wire.answer import Answer, Reply, Usage
from openwheel.wire.api import Api, Questions
from openwheel.wire.content import check_error
from openwheel.wire.prompt import Prompt
from openwheel.wire.question import (
    Question,
    chances_of,
    check_chance,
    check_distribution,
    described,
    encode,
    expectation,
    json_text,
    predicate_answer,
    remembered,
    score_answer,
    usage_shares,
)
from openwheel.wire.request import Request, settings_of
from openwheel.wire.tools import PromptMessage
from openwheel.wire.usage import read_counts

_NEUTRAL = frozenset({"state", "questions", "assets"})

Content = str | dict[str, Any] | list[Any] | None


class _Request(msgspec.Struct):
    """The fields that are looked at."""

    state: str | dict[str, Any] | list[Any]
    questions: dict[str, msgspec.Raw]
    model: str = ""
    assets: Any = None


class _Question(msgspec.Struct):
    type: str
    instructions: Content = None
    criteria: Any = None


class _Response(msgspec.Struct):
    answers: dict[str, msgspec.Raw] | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


_request_decoder = msgspec.json.Decoder(_Request)
_question_decoder = msgspec.json.Decoder(_Question)
_decoder = msgspec.json.Decoder(_Response)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_answer_decoder = msgspec.json.Decoder(dict[str, Any])


def split(body: bytes) -> list[Request]:
    """Read each question of a request as a request of its own; see `Questions`."""
    try:
        request = _request_decoder.decode(body)
        if not request.questions:
            raise RequestError("The request body has no questions: at least one is needed")
        read = [(name, _read_question(raw)) for name, raw in request.questions.items()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a System One request: {error}") from None
    message = (PromptMessage("user", json_text(request.state)),)
    plain = not request.assets
    settings = settings_of(body, _NEUTRAL)
    return [
        Request(
            prompt=Prompt(message, response_format=text, plain=plain and question.clear),
            model=request.model,
            settings=settings,
            echo={"question": question, "name": name},
        )
        for name, (question, text) in read
    ]


def only(body: bytes, rows: Sequence[int]) -> bytes:
    """Write a request that has some of another's questions; see `Questions`."""
    fields = _fields.decode(body)
    questions = list(_fields.decode(fields["questions"]).items())
    return encode({**fields, "questions": dict(questions[i] for i in rows)})


def alone(body: bytes) -> list[bytes]:
    """Write a request for each question; see `Questions`."""
    fields = _fields.decode(body)
    questions = _fields.decode(fields["questions"])
    return [encode({**fields, "questions": {name: raw}}) for name, raw in questions.items()]


def read_replies(body: bytes, requests: Sequence[Request]) -> list[Reply]:
    """Read the answer to each question; see `Questions`."""
    response = _read(body)
    answers = response.answers or {}
    names = [request.echo["name"] for request in requests]
    if missing := [name for name in names if name not in answers]:
        raise TeacherError(f"The answer has none to the question {missing[0]!r}")
    usage = usage_shares(_usage(response), len(names))
    return [
        Reply(_answer(answers[name]), response.model or "", counts)
        for name, counts in zip(names, usage, strict=True)
    ]


def read_system_one(body: bytes) -> Reply:
    """Read a whole answer, to its first question; see `Api`."""
    response = _read(body)
    if not response.answers:
        raise TeacherError("The answer is not one of System One: it has no answers")
    first = next(iter(response.answers.values()))
    return Reply(_answer(first), response.model or "", _usage(response))


def join(
    asked: Sequence[Request], answers: Mapping[int, Answer], body: bytes, rest: Sequence[int]
) -> bytes:
    """Write students' answers and a teacher's in the order of the questions; see `Questions`."""
    taught = _read(body).answers or {}
    written = {
        request.echo["name"]: (
            _written(answers[i], request) if i in answers else taught[request.echo["name"]]
        )
        for i, request in enumerate(asked)
        if i in answers or i in rest
    }
    return encode({**_fields.decode(body), "answers": written})


def system_one_bodies(
    answers: Sequence[Answer],
    requests: Sequence[Request],
    usage: Usage | None = None,
    *,
    identity: str = "",  # noqa: ARG001 - an answer of this API has no id
) -> bytes:
    """Write answers to all questions of a request; see `Questions`."""
    usage = usage or Usage()
    return encode(
        {
            "model": requests[0].model,
            "answers": {
                request.echo["name"]: _written(answer, request)
                for answer, request in zip(answers, requests, strict=True)
                if answer.text in request.echo["question"].answers
            },
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
            },
        }
    )


def _new(raw: bytes) -> tuple[Question, str]:
    asked = _question_decoder.decode(raw)
    criteria = asked.criteria
    if asked.type == "noul" and isinstance(criteria, dict | None):
        meant = criteria or {}
        sides = ((True, meant.get("true")), (False, meant.get("false")))
        said = any(description is not None for _, description in sides)
        question = Question("predicate", asked.instructions, sides if said else ())
    elif asked.type == "choice" and isinstance(criteria, dict):
        pairs = described(criteria.items(), "criteria")
        question = Question("choice", asked.instructions, pairs)
    elif asked.type == "score" and isinstance(criteria, list):
        pairs = described([(level, None) for level in criteria], "criteria")
        question = Question("score", asked.instructions, pairs)
    else:  # a box in an image, or what a later version has
        question = Question("other", msgspec.json.decode(raw))
    return question, question.text


_read_question = remembered(_new)


def _read(body: bytes) -> _Response:
    try:
        response = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The answer is not one of System One: {error}") from None
    check_error(response.error, "The answer is")
    return response


def _usage(response: _Response) -> Usage | None:
    return read_counts(response.usage, ("input_tokens",), "output_tokens")


def _answer(raw: msgspec.Raw) -> Answer:
    """Read one answer.

    Raises:
        TeacherError: It has not the fields of its type.
    """
    try:
        fields = _answer_decoder.decode(raw)
        kind = fields.get("type")
        if kind == "noul":
            return predicate_answer(check_chance(fields["noul"]))
        if kind == "choice":
            return check_distribution(fields["choice"], fields["probabilities"].items())
        if kind == "score":
            chances = fields["probabilities"]
            return score_answer([check_chance(chances[str(i)]) for i in range(len(chances))])
        return Answer("", (), f"decision:{kind}")
    except (msgspec.DecodeError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TeacherError(f"The answer is not one of System One: {error!r}") from None
    except RecursionError:
        raise TeacherError("The answer is not one of System One: it is too deep") from None


def _written(answer: Answer, request: Request) -> dict[str, Any]:
    """Return one answer as the API has it."""
    question: Question = request.echo["question"]
    chances = chances_of(answer, question)
    if question.type == "predicate":
        return {"type": "noul", "noul": chances[0]}
    by_answer = dict(zip(question.answers, chances, strict=True))
    if question.type == "choice":
        return {
            "type": "choice",
            "choice": answer.text,
            "confidence": by_answer[answer.text],
            "probabilities": by_answer,
        }
    mean = expectation(tuple(by_answer.items()))
    return {
        "type": "score",
        "score": round(mean or 0.0, 6),
        "confidence": max(chances),
        "legend": {
            text: level for text, (level, _) in zip(question.answers, question.choices, strict=True)
        },
        "probabilities": by_answer,
    }


_QUESTIONS: Final = Questions(
    split=split,
    only=only,
    alone=alone,
    read_replies=read_replies,
    join=join,
    body=system_one_bodies,
)
SYSTEM_ONE: Final = Api(
    name="systemone",
    path="/v1/systemone",
    id_header=b"x-typesafe-request-id",
    read_request=_QUESTIONS.read_request,
    read_reply=read_system_one,
    body=_QUESTIONS.write,
    questions=_QUESTIONS,
)
