"""Drafts: small models that propose a hosted teacher's next tokens, for speculative decoding.

The teacher checks what is proposed, so its answers stay what they were (lossless); only how many
tokens it gets through in one pass changes. A draft is not a student: it answers nobody, and needs
no gate. Knows nothing of files' final places, of HTTP, or of the gate.
"""

from openwheel.students.draft.acceptance import Acceptance, acceptance
from openwheel.students.draft.examples import Captured, Example, encode_captured
from openwheel.students.draft.measure import against_answers, against_target
from openwheel.students.draft.start import fit_vocabulary, load_target_tokenizer, shrink
from openwheel.students.draft.tokenizers import check_same_tokenizer
from openwheel.students.draft.train import DraftReport, DraftSettings, train_draft

__all__ = [
    "Acceptance",
    "Captured",
    "DraftReport",
    "DraftSettings",
    "Example",
    "acceptance",
    "against_answers",
    "against_target",
    "check_same_tokenizer",
    "encode_captured",
    "fit_vocabulary",
    "load_target_tokenizer",
    "shrink",
    "train_draft",
]
