"""Stepping back: a gateway on the same machine comes before who trains."""

import os

NICENESS = 10


def step_back() -> None:
    """Make this process as nice as one that trains; the learner that started it may be so yet."""
    os.nice(max(0, NICENESS - os.nice(0)))
