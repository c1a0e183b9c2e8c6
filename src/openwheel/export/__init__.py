"""Exports students in the forms that other software loads: adapters, merged weights, GGUF, ONNX.

Knows nothing of the gate or the gateway. Heavy: importing it needs the extras ``lm`` and
``export``.
"""

from openwheel.export.papers import default_name, papers_of
from openwheel.export.quiet import quiet
from openwheel.export.run import Exported, Form, export, has_licence
from openwheel.export.source import Source, source_of

__all__ = [
    "Exported",
    "Form",
    "Source",
    "default_name",
    "export",
    "has_licence",
    "papers_of",
    "quiet",
    "source_of",
]
