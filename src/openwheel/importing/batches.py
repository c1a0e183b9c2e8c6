"""Joins a batch's input with its output, which are two files."""

from collections.abc import Iterator

from openwheel.importing.values import JsonObject

_REQUESTS = ("body", "params")
_RESPONSES = ("response", "result")


class Batches:
    """Holds the half of each request of a batch that came first, by its ``custom_id``."""

    def __init__(self) -> None:
        self._waiting: dict[str, JsonObject] = {}

    def join(self, record: JsonObject) -> JsonObject | None:
        """Return a record; for half of a batch's request, both halves, or None until both came."""
        identity = record.get("custom_id")
        if not isinstance(identity, str):
            return record
        asks = any(key in record for key in _REQUESTS)
        answers = any(key in record for key in _RESPONSES)
        if asks == answers or "request" in record:
            return record
        other = self._waiting.get(identity)
        if other is None or asks == any(key in other for key in _REQUESTS):
            self._waiting[identity] = record
            return None
        del self._waiting[identity]
        # What the answer's side says of time and errors counts.
        return {**other, **record} if answers else {**record, **other}

    def left(self) -> Iterator[tuple[str, int]]:
        """Yield why halves are left over, and how many."""
        asked = sum(any(key in half for key in _REQUESTS) for half in self._waiting.values())
        if asked:
            yield "the input of a batch without its output", asked
        if len(self._waiting) > asked:
            yield "the output of a batch without its input", len(self._waiting) - asked
