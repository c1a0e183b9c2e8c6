"""Printing: Markdown tables ready for the docs, and a line on what they were measured on."""

import datetime
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import openwheel


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as a Markdown table; a column that no row has is left out."""
    shown = [column for column in columns if any(column in row for row in rows)]
    print(f"| {' | '.join(shown)} |")
    print(f"|{'---|' * len(shown)}")
    for row in rows:
        print(f"| {' | '.join(str(row.get(column, '')) for column in shown)} |", flush=True)


def print_machine() -> None:
    """Print date, machine and what it runs."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} cores "
        f"({found[1].strip() if found else platform.machine()}), Linux {platform.release()}, "
        f"Python {platform.python_version()}, Openwheel {openwheel.__version__}\n",
        flush=True,
    )


def quantiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Return median, 99th percentile and maximum, in milliseconds."""
    ordered = sorted(seconds)
    at_99 = ordered[int(0.99 * (len(ordered) - 1))]
    return 1000 * statistics.median(ordered), 1000 * at_99, 1000 * ordered[-1]
