"""Folds: ways in which two answers may differ and still be counted as one, if the user says so.

Pure functions of a text. Knows nothing of tasks, forms and students.
"""

from openwheel.tasks.folds.table import (
    FOLDS,
    LONGEST,
    OWN,
    VERSION,
    Fold,
    fold,
    folding,
    read_folds,
)
from openwheel.tasks.folds.words import leads

__all__ = [
    "FOLDS",
    "LONGEST",
    "OWN",
    "VERSION",
    "Fold",
    "fold",
    "folding",
    "leads",
    "read_folds",
]
