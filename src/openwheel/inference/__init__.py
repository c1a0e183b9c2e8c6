"""Launches and asks servers that run small language models: llama.cpp, vLLM, SGLang.

Knows nothing of tasks, students or the gate. Nothing here imports torch but what writes GGUF files.
"""

from openwheel.inference.writer import Ask, Constraint, Writer, Written

__all__ = ["Ask", "Constraint", "Writer", "Written"]
