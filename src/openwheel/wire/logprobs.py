"""Reads what else an answer could have been from the log-probabilities of its tokens.

Each token that might have been written in another's place begins other answers. Up to there they
are the same text, so the beginnings exclude one another, and their probabilities are products along
the tokens. What comes behind such a beginning is not known.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from openwheel.wire.answer import Probabilities

MORE: Final = "…"
"""The end of a text that is the beginning of an answer, not a whole one."""

MOST_TOKENS: Final = 32
"""Tokens of an answer that are looked at: labels are shorter."""

LEAST: Final = 1e-4
"""Beginnings with a smaller probability are left out."""


class _Other(msgspec.Struct):
    token: str
    logprob: float


class _Token(_Other):
    top_logprobs: list[_Other] = []


def read_logprobs(text: str, tokens: Iterable[Any]) -> Probabilities:
    """Return the probabilities of an answer and of beginnings of others; none if they are unclear.

    Args:
        text: The whole answer.
        tokens: The ``logprobs`` of its tokens, as chat completions and responses have them.

    >>> others = [{"token": "spam", "logprob": -0.1}, {"token": "h", "logprob": -2.4}]
    >>> token = {"token": "spam", "logprob": -0.1, "top_logprobs": others}
    >>> [(text, round(chance, 2)) for text, chance in read_logprobs("spam", [token])]
    [('spam', 0.9), ('h…', 0.09)]
    """
    try:
        read = msgspec.convert(list(tokens), list[_Token])
    except (msgspec.ValidationError, TypeError):
        return ()
    found: dict[str, float] = {}
    written, chance = "", 1.0
    for token in read[:MOST_TOKENS]:
        for other in token.top_logprobs:
            if other.token and other.token != token.token:
                beginning = written + other.token + MORE
                found[beginning] = found.get(beginning, 0.0) + chance * _probability(other)
        written += token.token
        chance *= _probability(token)
    # Bytes of a character that are tokens of their own are shown as other text.
    if not read or not text.startswith(written) or (len(read) <= MOST_TOKENS and written != text):
        return ()
    whole = text if written == text else written + MORE
    kept = [(key, value) for key, value in found.items() if value >= LEAST and key != whole]
    return ((whole, chance), *sorted(kept, key=lambda pair: -pair[1]))


def _probability(token: _Other) -> float:
    """Return a token's probability; some servers say -9999 for none."""
    return math.exp(min(token.logprob, 0.0)) if token.logprob == token.logprob else 0.0
