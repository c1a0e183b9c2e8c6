"""Keeps facts on open-weight checkpoints: licences, families, sizes, and what fits this machine.

Knows nothing of traffic.
"""

from openwheel.catalog.catalog import Catalog
from openwheel.catalog.read import load_catalog
from openwheel.catalog.rows import (
    Checkpoint,
    Clause,
    Confidence,
    Family,
    Licence,
    Quality,
    Shape,
    Threshold,
    Verdict,
)

__all__ = [
    "Catalog",
    "Checkpoint",
    "Clause",
    "Confidence",
    "Family",
    "Licence",
    "Quality",
    "Shape",
    "Threshold",
    "Verdict",
    "load_catalog",
]
