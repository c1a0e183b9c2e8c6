"""What an answer says, in each of the shapes that servers send its parts in.

A text may come as a list of parts, and the arguments of a tool call as the object they are in
place of its JSON text.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from openwheel.errors import TeacherError

_NO_ANSWER: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_text"})


class Part(msgspec.Struct):
    """One part of an answer's content."""

    type: str = ""
    text: Any = None
    refusal: Any = None


Content = str | list[Part | str] | None
"""The content of a message or of a piece of it: a text, or parts."""


def add_parts(parts: Iterable[Part | str], texts: list[str]) -> bool:
    """Add what each part says to ``texts``; return whether one is a refusal.

    What a model thought before its answer is no part of it.

    Raises:
        TeacherError: A part is neither, such as an image, so that text is not the whole answer.
    """
    refused = False
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif part.type == "refusal" and isinstance(part.refusal, str):
            texts.append(part.refusal)
            refused = True
        elif part.type not in _NO_ANSWER:
            if not isinstance(part.text, str):
                raise TeacherError(f"The answer has a part that is no text: {part.type!r:.40}")
            texts.append(part.text)
    return refused


def arguments_text(sent: Any) -> str:
    """Return the arguments of a tool call as JSON text, or the piece of it that was sent.

    Raises:
        TeacherError: They cannot be written.

    >>> arguments_text({"id": 7}), arguments_text('{"id":'), arguments_text(None)
    ('{"id":7}', '{"id":', '')
    """
    if isinstance(sent, str):
        return sent
    if sent is None:
        return ""
    try:
        return msgspec.json.encode(sent).decode()
    except RecursionError:
        raise TeacherError("The arguments of a tool call are nested too deeply") from None


def check_error(error: Any, place: str) -> None:
    """Raise `TeacherError` if the field ``error`` in some place of an answer is an error."""
    if error in (None, "", False):
        return
    message = error.get("message") if isinstance(error, dict) else error
    raise TeacherError(f"{place} an error: {message!s:.200}")
