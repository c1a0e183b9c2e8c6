"""Compares two answers to one request: by equality, words, vectors or fields.

Knows nothing of students, of endpoints, or of the use of a loss. The judge, which asks a teacher,
is in `openwheel.loop.judging`.
"""

from openwheel.tasks.compare.comparison import Comparison, Given, Kind, Pair, fingerprint_of
from openwheel.tasks.compare.embedding import EmbeddingComparison
from openwheel.tasks.compare.exact import ExactComparison, equal, settled
from openwheel.tasks.compare.fields import FieldRules, FieldsComparison, Tolerance, read_rules
from openwheel.tasks.compare.kinds import (
    EXACT,
    KINDS,
    Chosen,
    make_comparison,
    read_comparison,
)
from openwheel.tasks.compare.rouge import RougeComparison, rouge_l

__all__ = [
    "EXACT",
    "KINDS",
    "Chosen",
    "Comparison",
    "EmbeddingComparison",
    "ExactComparison",
    "FieldRules",
    "FieldsComparison",
    "Given",
    "Kind",
    "Pair",
    "RougeComparison",
    "Tolerance",
    "equal",
    "fingerprint_of",
    "make_comparison",
    "read_comparison",
    "read_rules",
    "rouge_l",
    "settled",
]
