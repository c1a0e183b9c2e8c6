"""What lies in an adapter's folder for llama.cpp, besides what PEFT reads."""

import msgspec

GGUF, NEEDS = "adapter.gguf", "llama_cpp.json"
"""The adapter as llama.cpp reads it, and what it takes to serve it."""


class Needs(msgspec.Struct, frozen=True):
    """What it takes to serve an adapter: tokens of its longest prompt with its answer."""

    context: int
