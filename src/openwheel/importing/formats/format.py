"""Defines a format of logs: how it is known, and how one record of it is read."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from openwheel.importing.answers import Opened
from openwheel.importing.requests import Asked, settings_in
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    first_object,
    first_text,
    is_set,
)

_FAILED = frozenset(
    {
        "failure",
        "failed",
        "error",
        "errored",
        "err",
        "cancelled",
        "canceled",
        "timeout",
        "expired",
        "aborted",
        "status_code_error",
    }
)


class Keys(msgspec.Struct, frozen=True):
    """The keys that the user named.

    Attributes:
        input: Of a plain pair's input; a dot goes down into an object.
        output: Of its output, likewise.
        time: Of a record's time.
    """

    input: str | None = None
    output: str | None = None
    time: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One record as its format understands it.

    Attributes:
        asked: The request.
        opened: The answer, and the object it was in.
        record: Where else the time, the latency and the tokens may stand, if not in the record
            itself.
        task: The task that the tool names, ``""`` if it names none.
        model: The model, where neither the request nor the answer names it.
        name: The name of the format, where it is one of several that are read alike.
    """

    asked: Asked
    opened: Opened
    record: JsonObject = {}
    task: str = ""
    model: str = ""
    name: str = ""


class Format(NamedTuple):
    """A format of logs.

    Attributes:
        name: As it is printed.
        has: Returns whether a record with these keys may be of this format.
        read: Returns the record's exchange; ``None`` if its values show that it is of another
            format after all. Raises `SkippedRecordError` and `UnreadableRecordError`.
    """

    name: str
    has: Callable[[frozenset[str]], bool]
    read: Callable[[JsonObject, Keys], Entry | None]


def reject_failed(record: JsonObject, *status_keys: str) -> None:
    """Check that a tool's record does not say that the call failed.

    Raises:
        SkippedRecordError: It does.
    """
    for key in ("error", "error_str", "exception", "errorMessage", "errorCode", *status_keys):
        value = record.get(key)
        if key in status_keys:
            if failed(value):
                raise SkippedRecordError("the call failed")
        elif is_set(value):
            raise SkippedRecordError("the call failed")


def failed(status: Any) -> bool:
    """Return whether a status, of a call or of HTTP, is that of a failure."""
    if isinstance(status, dict):
        status = status.get("status_code", status.get("code"))
    if isinstance(status, str):
        squeezed = status.strip().lower().rsplit(".", 1)[-1]
        if squeezed in _FAILED:
            return True
        if not squeezed.lstrip("-").isdecimal():
            return False
        status = int(squeezed)
    return (
        isinstance(status, int) and not isinstance(status, bool) and (status >= 400 or status < 0)
    )


def beside(asked: Asked, *places: Any, drop_defaults: bool = False) -> Asked:
    """Return a request with the model and the settings that a tool writes beside it.

    What the request has itself stays.

    Args:
        asked: The request.
        places: Objects with a model or settings in them, the best first; texts are models.
        drop_defaults: As `settings_in` takes it.
    """
    more: JsonObject = {}
    for place in filter(None, places):
        if isinstance(place, str) and place and not place.lstrip().startswith("{"):
            more.setdefault("model", place)
            continue
        fields = first_object(place)
        model = first_text(*(fields.get(key) for key in ("model", "model_name", "modelId")))
        if model:
            more.setdefault("model", model)
        for name, value in settings_in(fields, drop_defaults=drop_defaults).items():
            more.setdefault(name, value)
    missing = {name: value for name, value in more.items() if name not in asked.body}
    return msgspec.structs.replace(asked, body={**missing, **asked.body}) if missing else asked


def require(asked: Asked | None, source: str) -> Asked:
    """Return a request, or raise `UnreadableRecordError` if there is none."""
    if asked is None:
        raise UnreadableRecordError(f"{source} holds no request: no messages, prompt or contents")
    return asked
