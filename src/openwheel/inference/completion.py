"""An answer in llama.cpp's own API: what is asked of it, and what its answer says.

Source: llama.cpp, ``tools/server/README.md``, ``POST /completion``.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from openwheel.errors import EngineError
from openwheel.inference.lark import lark_of
from openwheel.inference.writer import Ask, Constraint, Written

_FAR_BELOW = 100.0


class _Token(msgspec.Struct):
    id: int
    logprob: float
    bytes: list[int] = []
    top_logprobs: "list[_Token]" = []


class _Completion(msgspec.Struct):
    content: str
    stop_type: Literal["none", "eos", "word", "limit"]
    tokens_evaluated: int
    tokens_predicted: int
    completion_probabilities: list[_Token] = []


def completion_request(ask: Ask) -> dict[str, Any]:
    """Return the body that asks for an answer.

    Raises:
        EngineError: The prompt is not there as text.
        RequestError: The constraint is none that can be kept.
    """
    prompt = ask.prompt
    if prompt is None:
        raise EngineError(
            "llama.cpp is asked with the prompt as its model was trained on it, which this student "
            "does not have: it was trained by an early version, or for vLLM or SGLang; train it "
            "again"
        )
    body = {
        "model": ask.model,
        "prompt": prompt.text if prompt.first is None else [prompt.first, prompt.text],
        "n_predict": ask.max_tokens,
        "temperature": ask.temperature,
        "n_probs": 2,
        "stop": list(ask.stop),
    }
    grammar = lark_of(ask.constraint, after=prompt.after)
    return {**body, "grammar": grammar} if grammar else body


def read_completion(answer: bytes, ask: Ask, shown: str) -> Written:
    """Return what was written.

    Args:
        answer: The body of the answer.
        ask: What was asked.
        shown: The server, for messages.

    Raises:
        EngineError: The answer is none, or not within its constraint: llama.cpp passes over a
            grammar that it cannot read, and says so in its log alone.
    """
    try:
        found = msgspec.json.decode(answer, type=_Completion)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineError(f"{shown} answered with no completion: {error}") from None
    tokens = found.completion_probabilities
    if not tokens and found.content and found.stop_type != "word":
        raise EngineError(f"{shown} gave no log-probabilities, which were asked for")
    finish = "length" if found.stop_type == "limit" else "stop"
    text, reasoning = found.content, ""
    after = ask.prompt.after if ask.prompt else ""
    if after:
        reasoning, closed, text = found.content.partition(after)
        tokens = _beyond(tokens, len((reasoning + closed).encode()))
        text = text.strip().removesuffix(ask.prompt.ends if ask.prompt else "").strip()
        finish = finish if closed else "length"
    if finish == "stop" and not _kept(text, ask.constraint):
        raise EngineError(f"{shown} did not keep an answer within its form: {text[:80]!r}")
    return Written(
        text=text,
        reasoning=reasoning.strip(),
        finish=finish,
        logprobs=tuple(token.logprob for token in tokens),
        margins=tuple(map(_margin, tokens)),
        prompt_tokens=found.tokens_evaluated,
        completion_tokens=found.tokens_predicted,
    )


def _beyond(tokens: Sequence[_Token], size: int) -> list[_Token]:
    """Return the tokens that begin after so many bytes."""
    at, kept = 0, []
    for token in tokens:
        if at >= size:
            kept.append(token)
        at += len(token.bytes)
    return kept


def _kept(text: str, constraint: Constraint) -> bool:
    """Return whether an answer is within its constraint, as far as is seen without a parser."""
    if constraint.choices:
        return text in constraint.choices
    if constraint.json_schema:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
    return True


def _margin(token: _Token) -> float:
    """Return by how much a token's log-probability is above the best other one's."""
    others = [one.logprob for one in token.top_logprobs if one.id != token.id]
    return token.logprob - max(others, default=token.logprob - _FAR_BELOW)
