"""GGUF files, as llama.cpp and what is built on it read them.

A file is written only where it is known to mean what the checkpoint means: the families of
:mod:`~openwheel.inference.gguf.families`, the tokenizers of
:mod:`~openwheel.inference.gguf.tokenizer`.
"""

from openwheel.inference.gguf.file import GgufReport, check_gguf, write_gguf
from openwheel.inference.gguf.quantization import PRECISIONS

__all__ = ["PRECISIONS", "GgufReport", "check_gguf", "write_gguf"]
