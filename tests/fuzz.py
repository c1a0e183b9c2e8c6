"""Fuzz tests of two lengths."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings


def fuzz(*strategies: Any, short: int, long: int, **named: Any) -> Callable[..., Any]:
    """Make a test of ``short`` examples, and beside it one of ``long`` as evidence."""

    def make(check: Callable[..., None]) -> Callable[..., None]:
        tests = [given(*strategies, **named)(check) for _ in range(2)]
        usual, beside = (
            settings(max_examples=examples, deadline=None)(test)
            for examples, test in zip((short, long), tests, strict=True)
        )
        name = f"{check.__name__}_in_many_examples"
        beside.__name__ = name
        check.__globals__[name] = pytest.mark.evidence(beside)
        return usual

    return make
