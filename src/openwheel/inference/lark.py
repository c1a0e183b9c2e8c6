"""What an answer may be, as a grammar that llama.cpp hands to llguidance.

Source: llguidance, "Extensions to Lark syntax". llama.cpp's own grammars (GBNF) let a
choice be written in odd tokens; these do not.
"""

import json
from typing import Final

from openwheel.errors import RequestError
from openwheel.inference.writer import Constraint

# Models may write white space without end where any amount of it is allowed. The llguidance of
# early wheels takes the bound for each piece of it, and so does not keep it.
_GUIDANCE: Final = {"whitespace_flexible": True, "whitespace_pattern": r"[ \n\r\t]{0,40}"}
HEAD: Final = "%llguidance {}\n"


def lark_of(constraint: Constraint, *, after: str = "") -> str:
    """Return a constraint as a grammar, ``""`` for free text.

    Args:
        constraint: What the answer may be.
        after: What ends a thought that the model writes before the answer; ``""`` without one.

    Raises:
        RequestError: Several forms are asked for at once, or one cannot be kept.
    """
    given = [constraint.choices, constraint.json_schema, constraint.regex]
    if sum(map(bool, given)) > 1:
        raise RequestError(
            "An answer must have one form at most: choices, a JSON Schema or a regular expression"
        )
    if constraint.choices:
        if not all(constraint.choices):
            raise RequestError("The choices for an answer must be texts that are not empty")
        # As a terminal they are one automaton, in which choices may begin alike.
        rule = "ANSWER: " + " | ".join(map(json.dumps, constraint.choices))
    elif constraint.json_schema:
        rule = f"answer: %json {_guided(constraint.json_schema)}"
    elif constraint.regex:
        rule = "ANSWER: /" + constraint.regex.replace("/", "\\/") + "/"
    else:
        return ""
    answer = rule.partition(":")[0]
    if not after:
        return f"{HEAD}start: {answer}\n{rule}\n"
    thought = f"thought[lazy]: /(?s:.*){_literal(after)}/\nSPACE: /\\s{{1,40}}/"
    return f"{HEAD}start: thought SPACE? {answer}\n{rule}\n{thought}\n"


def _guided(json_schema: str) -> str:
    try:
        schema = json.loads(json_schema)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The JSON Schema for an answer is not one: {error}") from None
    if not isinstance(schema, dict):
        raise RequestError(f"The JSON Schema for an answer must be an object, was {schema!r:.80}")
    return json.dumps({**schema, "x-guidance": _GUIDANCE})


def _literal(text: str) -> str:
    """Return a regular expression for a text, in a grammar where slashes end expressions."""
    return "".join(
        sign if sign.isalnum() or sign == " " else f"\\x{ord(sign):02x}" for sign in text
    )
