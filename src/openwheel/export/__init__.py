"""Students in the forms that other software loads: adapters, merged weights, GGUF, ONNX.

Knows nothing of the gate or the gateway. Heavy: whoever imports it needs the extras ``lm`` and
``export``.
"""

from openwheel.export.draft import DraftRecord, draft_card, read_record, write_draft
from openwheel.export.drafting import Drafted, DraftOrder, make_draft
from openwheel.export.papers import default_name, papers_of
from openwheel.export.quiet import quiet
from openwheel.export.run import Exported, Form, export, has_licence
from openwheel.export.source import Source, source_of

__all__ = [
    "DraftOrder",
    "DraftRecord",
    "Drafted",
    "Exported",
    "Form",
    "Source",
    "default_name",
    "draft_card",
    "export",
    "has_licence",
    "make_draft",
    "papers_of",
    "quiet",
    "read_record",
    "source_of",
    "write_draft",
]
