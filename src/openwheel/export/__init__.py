"""Students in the forms that other software loads: adapters, merged weights, GGUF, ONNX.

Knows nothing of the gate or the gateway. Heavy: whoever imports it needs the extras ``lm`` and
``export``.
"""
