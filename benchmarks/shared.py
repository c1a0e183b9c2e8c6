"""What the benchmarks share: the data in ``../shared/data`` and how a run describes itself."""

import datetime
import gzip
import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def rows(name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one data set."""
    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        raise SystemExit(f"{path} is missing: this benchmark needs the shared data sets")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def about(script: str) -> str:
    """Return a line that says when, where and with what a benchmark ran."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn"))
    return (
        f"{script}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores "
        f"({platform.machine()}), Python {platform.python_version()}, {packages}"
    )
