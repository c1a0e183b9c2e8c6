"""Folds answers: removes differences that the user does not count.

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
