"""Asks a chat model typed questions, for a teacher whose API has no decisions.

Each question is one chat completion: the input, the question, and its answers behind letters or
numbers, of which the model is to write one. Where the server gives log-probabilities, those of the
first token are the probabilities, of the answers among the likeliest tokens; else the answer that
the model wrote is certain. Neither is calibrated.
"""

import asyncio
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from openwheel.errors import RequestError, TeacherError
from openwheel.teachers.teacher import (
    Teacher,
    TeacherRequest,
    TeacherResponse,
    whole_response,
)
from openwheel.wire import DECISION_APIS, Answer, Api, Question, Request, Usage, question_in
from openwheel.wire.question import FALSE, TRUE, json_text
from openwheel.wire.usage import read_counts

HEADER: Final = b"x-openwheel-decisions-from"
"""Header of the response: ``chat`` and what its probabilities are, ``logprobs`` or ``answer``."""

_PATH: Final = "/v1/chat/completions"
_MOST_LETTERS: Final = 20  # as many likeliest tokens as OpenAI's API gives
_AT_ONCE: Final = 8
_MOST_TOKENS: Final = 8
_ORDER: Final = (
    "You answer a question about a text by choosing one of the answers that are listed. Write the "
    "{mark} of the answer that fits best, and nothing else."
)
_INVALID: Final = "invalid_request_error"


class _Token(msgspec.Struct):
    token: str = ""
    logprob: float = -math.inf


class _Position(_Token):
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_Position] | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    logprobs: _Logprobs | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: Any = None


class _Said(msgspec.Struct, frozen=True):
    """What a model said to one question."""

    answer: Answer
    model: str
    usage: Usage
    by_logprobs: bool


class _OtherStatusError(Exception):
    """The server answered a chat completion with an error, which is the client's answer."""

    def __init__(self, response: TeacherResponse, body: bytes) -> None:
        super().__init__(response.status)
        self.response = response
        self.body = body


_decoder = msgspec.json.Decoder(_Completion)


class ChatDecisions:
    """A teacher of chat completions that answers typed questions too; see the module.

    Attributes:
        teacher: Answers chat completions; other requests pass to it as they are.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self._logprobs = True

    async def close(self) -> None:
        """Close the teacher."""
        await self.teacher.close()

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request; see `Teacher.send`."""
        asked = request.path.partition("?")[0]
        api = next((api for api in DECISION_APIS.values() if api.path == asked), None)
        if api is None or api.questions is None or request.method != "POST":
            return await self.teacher.send(request)
        try:
            questions = api.questions.split(request.body)
            for question in questions:
                if not question.prompt.plain:
                    raise RequestError(
                        "This teacher answers questions from chat completions, of text alone and "
                        "of the types predicate, choice and score"
                    )
        except RequestError as error:
            return whole_response(400, api.error(str(error), type=_INVALID))
        headers = [pair for pair in request.headers if pair[0] != b"accept"]
        chat = request._replace(path=_PATH, headers=headers)
        try:
            said = await self._ask_all(questions, chat)
        except _OtherStatusError as error:
            passed = error.response
            return whole_response(passed.status, error.body, teacher=passed.teacher)
        return _response(api, questions, said)

    async def _ask_all(
        self, requests: Sequence[Request], chat: TeacherRequest
    ) -> list[tuple[_Said, str]]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def ask(request: Request) -> tuple[_Said, str]:
            async with room:
                return await self._ask(request, chat)

        tasks = [asyncio.ensure_future(ask(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _ask(self, request: Request, chat: TeacherRequest) -> tuple[_Said, str]:
        """Ask one question, without log-probabilities from when a server did not take them."""
        question = question_in(request.prompt.response_format)
        assert question is not None
        with_logprobs = self._logprobs
        body = chat_body(question, request, logprobs=with_logprobs)
        response = await self.teacher.send(chat._replace(body=body))
        answer = await response.read()
        if with_logprobs and response.status in {400, 422}:
            body = chat_body(question, request, logprobs=False)
            response = await self.teacher.send(chat._replace(body=body))
            answer = await response.read()
            self._logprobs = self._logprobs and response.status != 200
        if response.status != 200:
            raise _OtherStatusError(response, answer)
        return _read(answer, question), response.teacher


def chat_body(question: Question, request: Request, *, logprobs: bool) -> bytes:
    """Return the chat completion that asks a question about a request's input."""
    marks = _marks(question)
    listed = "\n".join(
        f"{mark}: {meaning}" for mark, meaning in zip(marks, _meanings(question), strict=True)
    )
    asked = json_text(question.instructions) if question.instructions else "Which answer fits?"
    kind = "letter" if len(marks) <= _MOST_LETTERS else "number"
    text = "\n".join(message.text for message in request.prompt.messages)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [
            {"role": "system", "content": _ORDER.format(mark=kind)},
            {"role": "user", "content": f"{text}\n\nQuestion: {asked}\n\nAnswers:\n{listed}"},
        ],
        "temperature": 0,
        "max_tokens": _MOST_TOKENS,
    }
    if logprobs and kind == "letter":
        body |= {"logprobs": True, "top_logprobs": _MOST_LETTERS}
    return msgspec.json.encode(body)


def _marks(question: Question) -> list[str]:
    """Return what stands for each answer: a letter, one token for most models, or a number."""
    number = len(question.answers)
    if number <= _MOST_LETTERS:
        return list(string.ascii_uppercase[:number])
    return [str(place) for place in range(1, number + 1)]


def _meanings(question: Question) -> list[str]:
    """Return what each answer means, for the model."""
    if question.type == "predicate":
        meant = {bool(value): said for value, said in question.choices}
        named = ((True, "yes, it is true"), (False, "no, it is not true"))
        return [
            f"{word}: {json_text(meant[side])}" if meant.get(side) else word for side, word in named
        ]
    return [
        f"{json_text(value)}: {json_text(said)}" if said else json_text(value)
        for value, said in question.choices
    ]


def _read(body: bytes, question: Question) -> _Said:
    """Read a chat completion as the answer to a question.

    Raises:
        TeacherError: It is none.
    """
    try:
        completion = _decoder.decode(body)
        choice = completion.choices[0]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError) as error:
        raise TeacherError(f"The answer is not a chat completion: {error}") from None
    usage = read_counts(completion.usage, ("prompt_tokens",), "completion_tokens") or Usage()
    answers = dict(zip(_marks(question), question.answers, strict=True))
    positions = (choice.logprobs.content if choice.logprobs is not None else None) or []
    weights = _weights(positions, answers)
    if weights:
        total = sum(weights.values())
        pairs = tuple((text, weights.get(text, 0.0) / total) for text in question.answers)
        chosen = max(pairs, key=lambda pair: pair[1])[0]
        if question.type == "predicate":  # one half is true
            chosen = TRUE if dict(pairs)[TRUE] >= dict(pairs)[FALSE] else FALSE
        answer = Answer(chosen, probabilities=pairs)
    else:
        written = (choice.message.content or "").strip().strip("().:*").partition(":")[0]
        text = answers.get(written, answers.get(written.upper(), ""))
        certain = tuple((one, float(one == text)) for one in question.answers)
        answer = Answer(text, probabilities=certain) if text else Answer("", (), "refusal")
    return _Said(answer, completion.model or "", usage, bool(weights))


def _weights(positions: Sequence[_Position], answers: Mapping[str, str]) -> dict[str, float]:
    """Return the probability of each answer whose mark is among the first token's likeliest."""
    weights: dict[str, float] = {}
    for position in positions[:1]:
        for token in position.top_logprobs or [position]:
            text = answers.get(token.token.strip())
            if text is not None and len(answers) <= _MOST_LETTERS and token.logprob <= 0:
                weights[text] = weights.get(text, 0.0) + math.exp(token.logprob)
    return {text: weight for text, weight in weights.items() if weight > 0}


def _response(
    api: Api, requests: Sequence[Request], said: Sequence[tuple[_Said, str]]
) -> TeacherResponse:
    assert api.questions is not None
    answers, teacher = [one.answer for one, _ in said], said[0][1]
    unsaid = [request for request, one in zip(requests, answers, strict=True) if not one.text]
    if unsaid and api.name == "systemone":  # it cannot say that there is no answer to a question
        name = unsaid[0].echo["name"]
        message = f"The model wrote none of the answers to the question {name!r}"
        return whole_response(502, api.error(message, type="teacher_error"), teacher=teacher)
    usage = Usage(
        sum(one.usage.prompt_tokens for one, _ in said),
        sum(one.usage.completion_tokens for one, _ in said),
    )
    named = msgspec.structs.replace(requests[0], model=said[0][0].model or requests[0].model)
    body = api.questions.body(answers, [named, *requests[1:]], usage)
    response = whole_response(200, body, teacher=teacher)
    source = "logprobs" if all(one.by_logprobs for one, _ in said) else "answer"
    return msgspec.structs.replace(
        response, headers=[*response.headers, (HEADER, f"chat; {source}".encode())]
    )
