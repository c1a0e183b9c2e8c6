"""Runs a small open-weight language model on this machine, or asks a server that does.

Knows nothing of tasks, students or the gate. Nothing here imports torch before a model is loaded.
"""

from openwheel.engine.writer import Ask, Constraint, Writer, Written

__all__ = ["Ask", "Constraint", "Writer", "Written"]
