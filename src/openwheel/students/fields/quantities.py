"""Numbers, dates and times in texts: where they are, and what they are."""

import datetime
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

_UNITS: Final = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SPELLED: Final = {
    **{name: i for i, name in enumerate(_UNITS)},
    **{name: 10 * i for i, name in enumerate(_TENS, 2)},
}
_TIMES: Final = {"k": 1_000, "thousand": 1_000, "hundred": 100, "million": 1_000_000}
_NUMBER = re.compile(
    r"(?<![\w.,])(?P<sign>[-\u2212])?(?P<digits>\d+(?:[.,]\d+)*)\s?(?P<times>k\b|thousand\b|hundred\b|million\b)?"
    rf"|\b(?P<tens>{'|'.join(_TENS)})(?:[\s-](?P<unit>{'|'.join(_UNITS[1:10])}))?\b"
    rf"|\b(?P<word>{'|'.join(_UNITS)})\b"
    r"|(?P<inside>\d+(?:[.,]\d+)*)",
    re.IGNORECASE,
)
_MONTHS: Final = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = "|".join((*_MONTHS, *(name[:3] for name in _MONTHS), "sept"))
_DATES = (
    re.compile(r"(?<!\d)(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?!\d)"),
    re.compile(r"(?<!\d)(?P<a>\d{1,2})[-/.](?P<b>\d{1,2})[-/.](?P<y>\d{4}|\d{2})(?!\d)"),
    re.compile(
        rf"(?<!\w)(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)?[\s-](?P<name>{_MONTH})\.?,?"
        r"[\s-](?P<y>\d{4})\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?P<name>{_MONTH})\.? (?P<d>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y>\d{{4}})\b",
        re.IGNORECASE,
    ),
)
_TIME = re.compile(
    r"(?<![\d:])(?P<h>\d{1,2})(?::(?P<m>\d{2}))?(?::(?P<s>\d{2}))?(?:\s?(?P<half>[ap])\.?m\b\.?)?",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """Where something is in a text, by its characters, and what it is."""

    start: int
    end: int
    value: Decimal | datetime.date | datetime.time


def numbers_in(text: str, *, comma: bool) -> Iterator[Found]:
    """Yield the numbers of a text, in digits or in English words.

    Args:
        text: The text.
        comma: Whether a comma parts the decimals, as in 1.200,50.
    """
    for found in _NUMBER.finditer(text):
        if found["digits"] or found["inside"]:
            value = as_number(found["digits"] or found["inside"], comma=comma)
            if value is None:
                continue
            if found["sign"]:
                value = -value
            if found["times"]:
                value *= _TIMES[found["times"].lower()]
        elif found["tens"]:
            value = Decimal(_SPELLED[found["tens"].lower()])
            value += _SPELLED[found["unit"].lower()] if found["unit"] else 0
        else:
            value = Decimal(_SPELLED[found["word"].lower()])
        end = len(found[0].rstrip()) + found.start()
        yield Found(found.start(), end, value)


def as_number(digits: str, *, comma: bool) -> Decimal | None:
    """Return the number that digits with separators are, None if they are none.

    >>> as_number("1,200.50", comma=False), as_number("1.200,50", comma=True)
    (Decimal('1200.50'), Decimal('1200.50'))
    """
    thousands, point = (".", ",") if comma else (",", ".")
    whole, _, rest = digits.partition(point)
    groups = whole.split(thousands)
    if len(groups) > 1 and not all(len(group) == 3 for group in groups[1:]):
        return None
    try:
        return Decimal("".join(groups) + (f".{rest}" if rest else ""))
    except InvalidOperation:
        return None


def dates_in(text: str, *, day_first: bool) -> Iterator[Found]:
    """Yield the dates of a text that have a day, a month and a year.

    Args:
        text: The text.
        day_first: Whether 4/6/2026 is in June.
    """
    taken: list[tuple[int, int]] = []
    for pattern in _DATES:
        for found in pattern.finditer(text):
            if any(found.start() < end and start < found.end() for start, end in taken):
                continue
            parts = found.groupdict()
            year = int(parts["y"])
            year += 2000 * (year < 100)
            if parts.get("name"):
                month = [name[:3] for name in _MONTHS].index(parts["name"][:3].lower()) + 1
                day = int(parts["d"])
            elif parts.get("a"):
                day, month = int(parts["a"]), int(parts["b"])
                if not day_first:
                    day, month = month, day
            else:
                month, day = int(parts["m"]), int(parts["d"])
            try:
                value = datetime.date(year, month, day)
            except ValueError:
                continue
            taken.append(found.span())
            yield Found(found.start(), found.end(), value)


def times_in(text: str) -> Iterator[Found]:
    """Yield the times of day of a text: 15:30, 3:30 pm, 3pm."""
    for found in _TIME.finditer(text):
        hour, minute = int(found["h"]), int(found["m"] or 0)
        if not found["m"] and not found["half"]:
            continue
        if found["half"]:
            if not 1 <= hour <= 12:
                continue
            hour = hour % 12 + 12 * (found["half"].lower() == "p")
        try:
            yield Found(
                found.start(), found.end(), datetime.time(hour, minute, int(found["s"] or 0))
            )
        except ValueError:
            continue
