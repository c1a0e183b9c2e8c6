"""Reads the rows of a Parquet file."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from openwheel.errors import LogError
from openwheel.importing.values import JsonObject

BATCH = 1_000
"""Rows that are read at once."""


def parquet_rows(path: str | Path, name: str) -> Iterator[tuple[bytes, JsonObject]]:
    """Yield the rows of a Parquet file, each with bytes that make it what it is.

    Raises:
        LogError: pyarrow is not installed, or the file cannot be read.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise LogError(f"{name} is a Parquet file; to read it: pip install 'openwheel[parquet]'")
    if str(path) == "-":
        raise LogError("A Parquet file cannot be read from standard input; give its name")
    from pyarrow import ArrowException, parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for values in batch.to_pylist():
                    yield msgspec.json.encode(values, enc_hook=str), _as_json(values)
    except (ArrowException, OSError) as error:
        raise LogError(f"{name} cannot be read as Parquet: {str(error)[:200]}") from None


def _as_json(value: Any) -> Any:
    """Return a value as JSON has it: times as texts in ISO 8601."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
