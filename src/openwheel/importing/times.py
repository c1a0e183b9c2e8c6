"""Reads the time of a record, in the forms in which tools write it."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from openwheel.importing.values import JsonObject, squeezed

TIME_KEYS = (
    "time",
    "timestamp",
    "ts",
    "created",
    "created_at",
    "date",
    "datetime",
    "start_time",
    "started_at",
    "start",
    "request_created_at",
    "requested_at",
    "request_time",
    "request_timestamp",
    "start_time_unix_nano",
    "time_generated",
    "event_time",
    "event_timestamp",
    "logged_at",
    "logging_time",
    "sent_at",
    "observed_timestamp",
    "observed_time_unix_nano",
    "inserted_at",
    "create_time",
    "timestamp_ms",
    "ts_ms",
    "epoch",
    "unix_time",
    "start_timestamp",
    "request_start_time",
    "submitted_at",
    "occurred_at",
    "recorded_at",
    "date_created",
    "created_on",
    "created_date",
    "log_time",
    "executed_at",
    "end_time",
    "ended_at",
    "completed_at",
    "finished_at",
    "received_at",
    "response_created_at",
    "processed_time",
    "updated_at",
)
"""Keys of a time, the first of those that can be read counts; case, spaces and punctuation do not.

When a request came is before when its answer did.
"""

_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0  # the years 2000 to 2099
_RANK = {squeezed(name): rank for rank, name in enumerate(TIME_KEYS)}
_WRITTEN = (
    "%Y/%m/%d %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d/%b/%Y:%H:%M:%S %z",
    "%b %d, %Y, %I:%M:%S %p",
    "%b %d, %Y %I:%M:%S %p",
    "%b %d, %Y, %H:%M:%S",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y",
    "%B %d, %Y %H:%M:%S",
    "%B %d, %Y",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y",
    "%Y-%m-%d %I:%M:%S %p",
)
_SLASHED = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{4}),?(?:\s+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(?:\s*([AP])M)?)?",
    re.IGNORECASE,
)
_ZONE = re.compile(r"\s*(?:UTC|GMT|Z)\Z")


def time_keys(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of a record's keys that may hold its time, the best first."""
    ranked = [(rank, name) for name in names if (rank := _RANK.get(squeezed(name))) is not None]
    return tuple(name for _, name in sorted(ranked))


def looks_like_time(name: str, value: Any) -> bool:
    """Return whether a field that is none of `TIME_KEYS` may be a record's time."""
    plain = squeezed(name)
    if plain in _RANK or not plain.endswith(("time", "timestamp", "at", "date", "on", "ts")):
        return False
    moment = seconds(value)
    return moment is not None and _EARLIEST < moment < _LATEST


def time_of(record: JsonObject, keys: tuple[str, ...]) -> tuple[float, bool]:
    """Return a record's time in seconds since 1970, 0.0 if it has none that can be read.

    A date and a time of day in two fields are read together.

    Returns:
        The time; and False if there are values of which none can be read.
    """
    readable = True
    for key in keys:
        value = record.get(key)
        if value is None or value == "":
            continue
        if isinstance(value, str) and len(keys) > 1 and re.fullmatch(r"\s*\d\d?:\d\d\S*\s*", value):
            value = _with_date(record, keys, value)
        moment = seconds(value)
        if moment is not None:
            return moment, True
        readable = False
    return 0.0, readable


def _with_date(record: JsonObject, keys: tuple[str, ...], clock: str) -> str:
    for key in keys:
        if squeezed(key) == "date" and isinstance(record[key], str):
            return f"{record[key].strip()} {clock.strip()}"
    return clock


def seconds(value: Any) -> float | None:
    """Return a time in seconds since 1970, ``None`` if it cannot be read.

    Numbers, also as text, are seconds, milliseconds, microseconds or nanoseconds, by their size.
    Texts are ISO 8601, RFC 2822, and what spreadsheets and web servers write; without a zone they
    are UTC. Days and months that could be each other (``4/6/2026``) are not guessed. Objects are
    those of MongoDB and Protocol Buffers.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _written(value.strip())
    if isinstance(value, dict):
        return _wrapped(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or value <= 0:
        return None
    for least, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if value >= least:
            return float(value / unit)
    return float(value)


def _wrapped(value: JsonObject) -> float | None:
    for key in ("$date", "$numberLong", "value"):
        if key in value and len(value) == 1:
            return seconds(value[key])
    whole = value.get("seconds", value.get("_seconds"))
    if isinstance(whole, str) and whole.isdecimal():
        whole = int(whole)
    parts = value.get("nanos", value.get("_nanoseconds", 0))
    if isinstance(whole, int) and isinstance(parts, int) and whole > 0:
        return whole + parts / 1e9
    return None


def _written(value: str) -> float | None:
    if len(value) > 60 or not any(map(str.isdigit, value)):
        return None
    for read in (datetime.fromisoformat, _slashed, _formatted, parsedate_to_datetime):
        try:
            moment = read(value)
            if moment is None:
                continue
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            time = moment.timestamp()
        except (ValueError, OverflowError, TypeError):
            continue
        return time if time > 0 else None
    return None


def _slashed(value: str) -> datetime | None:
    """Read ``31/12/2026 23:59`` and ``12/31/2026 11:59 PM``, where only one reading is possible."""
    match = _SLASHED.fullmatch(_ZONE.sub("", value))
    if match is None:
        return None
    first, second, year = (int(part) for part in match.groups()[:3])
    if first == second or second > 12:
        month, day = first, second
    elif first > 12:
        month, day = second, first
    else:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[3:6])
    if half := match.group(7):
        hour = hour % 12 + 12 * (half.upper() == "P")
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _formatted(value: str) -> datetime | None:
    value = _ZONE.sub("", value)
    for form in _WRITTEN:
        try:
            return datetime.strptime(value, form)
        except ValueError:
            continue
    return datetime.fromisoformat(value)
