"""Single values of a log's record: embedded JSON, text, times and durations."""

import math
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from openwheel.wire.prompt import canonical_json

JsonObject: TypeAlias = dict[str, Any]


class UnreadableRecordError(Exception):
    """A record is not what a log may hold; the message is the reason. Never leaves `read_log`."""


class SkippedRecordError(Exception):
    """A record holds nothing to learn from; the message is the reason. Never leaves `read_log`."""


def embedded(value: Any) -> Any:
    """Return the JSON value in a string that holds an object or array, else the value itself."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def json_text(value: Any) -> str:
    """Return a string as it is, and any other JSON value as its canonical JSON."""
    if isinstance(value, str):
        return value
    try:
        return canonical_json(value)
    except (OverflowError, RecursionError) as error:
        raise UnreadableRecordError(f"a value cannot be written as JSON: {error}") from None


def seconds(value: Any) -> float | None:
    """Return a time in seconds since 1970.

    Args:
        value: ISO 8601 (without a zone: UTC), or a number, also as text, of seconds,
            milliseconds, microseconds or nanoseconds since 1970, told apart by its size.

    Returns:
        The time; ``None`` if it is none of these.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _iso(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or value <= 0:
        return None
    for least, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if value >= least:
            return float(value / unit)
    return float(value)


def _iso(value: str) -> float | None:
    try:
        moment = datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        time = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return time if time > 0 else None


def milliseconds(value: Any) -> float | None:
    """Return a duration that is a number, also as text, of at least 0; else ``None``."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < math.inf else None
