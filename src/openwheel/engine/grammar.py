"""Keeping an answer within its form while it is written: choices, a JSON Schema or a regex.

Source: llguidance, https://github.com/guidance-ai/llguidance.
"""

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openwheel.engine.text import Vocabulary
from openwheel.errors import RequestError
from openwheel.inference.writer import Constraint


class Matcher:
    """Says at each token which may come next.

    Args:
        vocabulary: The tokens.
        grammar: As `grammar_of` writes it.

    Raises:
        RequestError: The grammar is not one that can be kept.
    """

    def __init__(self, vocabulary: Vocabulary, grammar: str) -> None:
        from llguidance import LLMatcher  # noqa: PLC0415 - only where a model runs

        self._size = vocabulary.size
        self._matcher: Any = LLMatcher(vocabulary.matching, grammar, log_level=0)
        self._require()

    def allowed(self) -> NDArray[np.bool_]:
        """Return which tokens may come next, shape (vocabulary,)."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._require()
        bits = np.unpackbits(packed, count=self._size, bitorder="little")
        return bits.view(np.bool_)

    def accept(self, token: int) -> bool:
        """Take a token, and return whether nothing but an end may follow.

        Raises:
            RequestError: The token was not allowed.
        """
        self._matcher.consume_token(token)
        self._require()
        return bool(self._matcher.is_stopped())

    def _require(self) -> None:
        if self._matcher.is_error():
            problem = " ".join(self._matcher.get_error().split())
            raise RequestError(f"The answer cannot be kept to the form asked for: {problem:.300}")


def grammar_of(constraint: Constraint) -> str:
    """Return a constraint as a grammar of llguidance, ``""`` for free text.

    Raises:
        RequestError: Several forms are asked for at once, or one cannot be kept.
    """
    given = [constraint.choices, constraint.json_schema, constraint.regex]
    if sum(map(bool, given)) > 1:
        raise RequestError(
            "An answer must have one form at most: choices, a JSON Schema or a regular expression"
        )
    from llguidance import LLMatcher  # noqa: PLC0415

    if constraint.choices:
        if not all(constraint.choices):
            raise RequestError("The choices for an answer must be texts that are not empty")
        # As a regular expression they are one automaton, in which choices may begin alike.
        return str(LLMatcher.grammar_from_regex("|".join(map(_literal, constraint.choices))))
    if constraint.json_schema:
        try:
            json.loads(constraint.json_schema)
            grammar = LLMatcher.grammar_from_json_schema(
                constraint.json_schema, overrides={"whitespace_pattern": _SPACE}
            )
        except (ValueError, RecursionError) as error:
            raise RequestError(f"The JSON Schema for an answer is not one: {error}") from None
        return str(grammar)
    if constraint.regex:
        return str(LLMatcher.grammar_from_regex(constraint.regex))
    return ""


# Models may write white space without end where any amount of it is allowed.
_SPACE = r"[ \n\r\t]{0,40}"
_SIGNS = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~/\"]")


def _literal(text: str) -> str:
    """Return a regular expression that matches a text and nothing else.

    Not `re.escape`: it escapes spaces and more, which the Rust syntax refuses.
    """
    escaped = _SIGNS.sub(lambda sign: "\\" + sign.group(), text)
    return escaped.replace("\n", r"\n").replace("\r", r"\r").replace("\t", r"\t")
