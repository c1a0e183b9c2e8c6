"""Ids of answers: unique, not secret."""

import random
import time
from collections.abc import Iterable
from typing import Any, Final

import msgspec

LONGEST_ID: Final = 200
"""The most characters of an id that is kept; those of known servers have less than 70."""

_FIRST_EVENTS = 5
_PREFIXES = ("chatcmpl-", "resp_", "cmpl-", "msg_")


class _Named(msgspec.Struct):
    id: Any = None


class _Answer(_Named):
    response: _Named | None = None
    message: _Named | None = None


_decoder = msgspec.json.Decoder(_Answer)


def random_id() -> str:
    """Return 128 random bits in hexadecimal.

    Not from `uuid`, which asks the system for each: a call that costs more than writing the
    answer does.
    """
    return f"{random.getrandbits(128):032x}"


def ordered_id() -> str:
    """Return an id that sorts by the time it was made: 48 bits of milliseconds, 80 random bits.

    An index of such ids grows at its end. One of random ids is written all over, a page of the
    disk for each row. The layout is that of RFC 9562, section 5.7, without its version bits.
    """
    return f"{time.time_ns() // 1_000_000:012x}{random.getrandbits(80):020x}"


def usable_id(text: str) -> bool:
    """Return whether ``text`` can be kept as an id: short, and printable ASCII."""
    return 0 < len(text) <= LONGEST_ID and text.isascii() and text.isprintable()


def bare_id(identity: str) -> str:
    """Return an answer's id without the prefix that its API gave it."""
    for prefix in _PREFIXES:
        if identity.startswith(prefix):
            return identity[len(prefix) :]
    return identity


def read_reply_id(events: Iterable[bytes]) -> str:
    """Return the id that a client finds in an answer, ``""`` if there is none to be found.

    Args:
        events: The whole body, or the payloads of a stream, of which the first ones tell.
    """
    for event, _ in zip(events, range(_FIRST_EVENTS), strict=False):
        try:
            answer = _decoder.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        for named in (answer.response, answer.message, answer):
            if named is not None and isinstance(named.id, str) and usable_id(named.id):
                return named.id
    return ""
