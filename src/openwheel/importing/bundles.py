"""Takes apart objects that hold many records: traces, tables by columns, lists in something."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from openwheel.importing.values import JsonObject, embedded

WRAPPERS: Final = (
    "data",
    "items",
    "rows",
    "records",
    "logs",
    "entries",
    "results",
    "result",
    "examples",
    "runs",
    "generations",
    "value",
    "values",
    "list",
    "traces",
    "observations",
    "spans",
    "exchanges",
    "samples",
    "completions",
    "hits",
    "train",
)
"""Keys under which exports have their list of records."""

_CHILDREN: Final = ("observations", "child_runs", "spans")
_KEYS: Final = frozenset({*WRAPPERS, *_CHILDREN, "resourceSpans", "resourceLogs", "batches"})
# The start of an object with a list of objects, behind nothing but simple values.
_HEAD: Final = re.compile(
    rb'\s*\{(?:\s*"[^"\\]{1,60}"\s*:\s*(?:"(?:[^"\\]|\\.){0,200}"|[-+.\w]{1,40})\s*,)*'
    rb'\s*"(' + "|".join(WRAPPERS).encode() + rb')"\s*:\s*\[\s*\{'
)


_SHIPPED: Final = ("log", "message", "@message", "jsonPayload", "_source", "fields", "line", "msg")
"""Keys under which those who collect logs put a line of an application."""

_OF_RECORDS: Final = frozenset(
    {
        *("messages", "request", "response", "input", "output", "inputs", "outputs", "prompt"),
        *("completion", "text", "label", "choices", "attributes", "body", "answer", "question"),
        *("conversations", "role", "spans", "custom_id"),
    }
)
_TIMES: Final = ("time", "timestamp", "@timestamp", "ts", "receiveTimestamp")


def unshipped(record: JsonObject) -> JsonObject:
    """Return an application's record out of the line of who collected its log.

    Docker, CloudWatch, Google Cloud Logging, Elasticsearch and others wrap each line. The time of
    the line stays, where the record has none under the same name.
    """
    for key in _SHIPPED:
        if key not in record:
            continue
        inner = embedded(record[key])
        if isinstance(inner, dict) and len(inner) > 1 and _OF_RECORDS.isdisjoint(record):
            times: JsonObject = {name: record[name] for name in _TIMES if name in record}
            return {**times, **unshipped(inner)}
    return record


def list_start(head: bytes) -> int | None:
    """Return where the list of records begins in a file that is an object around it."""
    match = _HEAD.match(head)
    return None if match is None else head.index(b"[", match.start(1))


def unbundled(record: JsonObject) -> Iterator[tuple[bytes, JsonObject]] | None:
    """Return the records in an object that holds many, each with bytes that make it what it is.

    Returns:
        ``None`` if the object is one record.
    """
    # Most records are one, which their keys and their first value show.
    if _KEYS.isdisjoint(record) and not isinstance(next(iter(record.values()), None), dict | list):
        return None
    rows = _spans(record)
    if rows is None:
        rows = _children(record)
    if rows is None:
        rows = _columns(record)
    if rows is None and len(record) <= 12:
        rows = _list(record)
    return None if rows is None else _identified(rows)


def _identified(records: list[JsonObject]) -> Iterator[tuple[bytes, JsonObject]]:
    for record in records:
        try:
            yield msgspec.json.encode(record), record
        except (OverflowError, RecursionError, UnicodeEncodeError):
            yield json.dumps(record, default=str).encode(), record


def _spans(record: JsonObject) -> list[JsonObject] | None:
    """Return the spans of OTLP JSON and of Jaeger's."""
    resources = record.get("resourceSpans", record.get("batches"))
    if isinstance(resources, list):
        return [
            span
            for resource in _objects(resources)
            for scope in _objects(
                resource.get("scopeSpans", resource.get("instrumentationLibrarySpans"))
            )
            for span in _objects(scope.get("spans"))
        ]
    logs = record.get("resourceLogs")
    if isinstance(logs, list):
        return [
            entry
            for resource in _objects(logs)
            for scope in _objects(resource.get("scopeLogs"))
            for entry in _objects(scope.get("logRecords"))
        ]
    traces = _objects(record.get("data"))
    if traces and all("spans" in item for item in traces):
        return [span for trace in traces for span in _objects(trace.get("spans"))]
    return None


def _children(record: JsonObject) -> list[JsonObject] | None:
    """Return a run or trace without the runs in it, and those."""
    for key in _CHILDREN:
        inner = embedded(record.get(key)) if key in record else None
        if not isinstance(inner, list) or not _objects(inner) or len(record) < 2:
            continue
        leaves = (
            []
            if key == "spans" or ("type" not in record and "run_type" not in record)
            else [{name: value for name, value in record.items() if name != key}]
        )
        for child in _objects(inner):
            leaves += _children(child) or [child]
        return leaves
    return None


def _columns(record: JsonObject) -> list[JsonObject] | None:
    """Return the rows of a table that is an object of its columns, as pandas writes it."""
    values = list(record.values())
    if len(values) < 2:
        return None
    names, index, data = (record.get(key) for key in ("columns", "index", "data"))
    if (
        isinstance(names, list)
        and isinstance(index, list)
        and isinstance(data, list)
        and all(isinstance(row, list) and len(row) == len(names) for row in data)
    ):
        return [dict(zip(map(str, names), row, strict=True)) for row in data]
    if all(isinstance(value, dict) and value for value in values):
        keys = list(values[0])
        if all(key.isdecimal() for key in keys) and all(list(v) == keys for v in values):
            return [{name: column[key] for name, column in record.items()} for key in keys]
    if all(isinstance(value, dict) for value in values) and all(map(str.isdecimal, record)):
        return values  # a row for each number
    lists = all(isinstance(value, list) and len(value) > 1 for value in values)
    if lists and len({len(value) for value in values}) == 1:
        texts = sum(all(isinstance(item, str) for item in value) for value in values)
        if texts >= 2:
            return [dict(zip(record, row, strict=True)) for row in zip(*values, strict=True)]
    return None


def _list(record: JsonObject) -> list[JsonObject] | None:
    """Return the list of objects that an export wraps, such as ``{"data": [...], "meta": ...}``."""
    for key in WRAPPERS:
        inner = record.get(key)
        if isinstance(inner, list) and inner and len(_objects(inner)) == len(inner):
            other_values = [value for name, value in record.items() if name != key]
            if not any(isinstance(value, list) and value for value in other_values) and not any(
                name in record for name in ("messages", "input", "output", "response", "request")
            ):
                return inner
    return None


def _objects(value: Any) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
