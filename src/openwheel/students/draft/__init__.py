"""Drafts: small models that propose a hosted teacher's next tokens, for speculative decoding.

The teacher checks what is proposed, so its answers stay what they were (lossless); only how many
tokens it gets through in one pass changes. A draft is not a student: it answers nobody, and needs
no gate. Knows nothing of files' final places, of HTTP, or of the gate.
"""

from openwheel.students.draft.acceptance import Acceptance, acceptance
from openwheel.students.draft.captured import Origin, captured_answers, choose, origins
from openwheel.students.draft.examples import Captured, Example, encode_captured
from openwheel.students.draft.measure import against_answers, against_target
from openwheel.students.draft.start import (
    fit_vocabulary,
    load_target_tokenizer,
    shrink,
    target_rows,
)
from openwheel.students.draft.tokenizers import check_same_tokenizer
from openwheel.students.draft.train import DraftReport, DraftSettings, train_draft

__all__ = [
    "Acceptance",
    "Captured",
    "DraftReport",
    "DraftSettings",
    "Example",
    "Origin",
    "acceptance",
    "against_answers",
    "against_target",
    "captured_answers",
    "check_same_tokenizer",
    "choose",
    "encode_captured",
    "fit_vocabulary",
    "load_target_tokenizer",
    "origins",
    "shrink",
    "target_rows",
    "train_draft",
]
