"""Telling whoever waits what is being done."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes a short phrase, such as ``task route: training on 7,500``."""


def silent(_: str) -> None:
    """Tell nobody."""
