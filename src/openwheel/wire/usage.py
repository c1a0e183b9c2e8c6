"""Token counts: reading them under each API's names, writing OpenAI's."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from openwheel.wire.answer import Usage


class _Any(msgspec.Struct):
    usage: Any = None


_any = msgspec.json.Decoder(_Any)

MOST_TOKENS: Final = 1 << 53
"""More is no count: every store and JSON reader holds whole numbers up to here."""


def read_counts(usage: Any, prompt: Iterable[str], completion: str) -> Usage | None:
    """Return the usage, None if there is none: an answer is worth more than its token count.

    Args:
        usage: As sent, of whatever type.
        prompt: The names of the counts that together are the prompt's.
        completion: The name of the answer's count.

    >>> read_counts({"input_tokens": 5, "cached": 2, "output_tokens": None}, ["input_tokens",
    ... "cached"], "output_tokens")
    Usage(prompt_tokens=7, completion_tokens=0)
    """
    if not isinstance(usage, dict):
        return None
    prompt_tokens = 0
    for name in prompt:
        count = _count(usage.get(name))
        if count is None:
            return None
        prompt_tokens += count
    completion_tokens = _count(usage.get(completion))
    if completion_tokens is None or prompt_tokens >= MOST_TOKENS:
        return None
    return Usage(prompt_tokens, completion_tokens)


def token_counts(usage: Usage | None) -> dict[str, int]:
    """Return the usage as chat completions and completions write it; zero for none."""
    usage = usage or Usage()
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _count(value: Any) -> int | None:
    if value is None:
        return 0
    if type(value) is int and 0 <= value < MOST_TOKENS:
        return value
    return None


def read_any_usage(body: bytes) -> Usage | None:
    """Return the usage that a whole answer of any API tells, None if it tells none."""
    try:
        usage = _any.decode(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(usage, dict):
        return None
    if "input_tokens" in usage:
        return read_counts(usage, ["input_tokens"], "output_tokens")
    return read_counts(usage, ["prompt_tokens"], "completion_tokens")
