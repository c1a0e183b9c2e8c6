"""Ids of answers: unique, not secret."""

import random
import time


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
