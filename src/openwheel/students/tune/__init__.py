"""Trains an encoder's body on a task, and writes encoders as ONNX, in a process of its own.

The learner's process needs no torch for it. Knows nothing of heads, gates or the loop.
"""
