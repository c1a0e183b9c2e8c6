"""Runs a small open-weight language model on this machine.

Knows nothing of tasks, students or the gate. Nothing here imports torch before a model is loaded.
"""
