"""Compares two answers to one request: by equality, words, vectors or fields.

Knows nothing of students, of endpoints, or of the use of a loss. The judge, which asks a teacher,
is in `openwheel.loop.judging`.
"""

from openwheel.tasks.compare.comparison import (
    Comparison,
    Encoder,
    Given,
    Kind,
    Pair,
    fingerprint_of,
)
from openwheel.tasks.compare.embedding import EmbeddingComparison
from openwheel.tasks.compare.exact import ExactComparison, equal, settled
from openwheel.tasks.compare.field_rules import PLAIN, FieldSettings, read_fields
from openwheel.tasks.compare.fields import FieldsComparison, verdicts_on, why_unsuited
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
    "PLAIN",
    "Chosen",
    "Comparison",
    "EmbeddingComparison",
    "Encoder",
    "ExactComparison",
    "FieldSettings",
    "FieldsComparison",
    "Given",
    "Kind",
    "Pair",
    "RougeComparison",
    "equal",
    "fingerprint_of",
    "make_comparison",
    "read_comparison",
    "read_fields",
    "rouge_l",
    "settled",
    "verdicts_on",
    "why_unsuited",
]
