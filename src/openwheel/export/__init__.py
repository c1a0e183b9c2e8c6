"""Students in the forms that other software loads: adapters, merged weights, GGUF, ONNX.

Knows nothing of the gate or the gateway. Heavy: whoever imports it needs the extras ``lm`` and
``export``.
"""

from openwheel.export.run import Exported, Form, export
from openwheel.export.source import Source, source_of

__all__ = ["Exported", "Form", "Source", "export", "source_of"]
