"""The rung ``lm``: a small open-weight language model with a LoRA adapter, trained on a task.

Trains in a process of its own and answers by asking a `Writer`; knows nothing of how one serves.
"""
