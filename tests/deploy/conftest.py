"""A gateway to look at, as the tests of processes run it."""

from processes.conftest import teacher, up

__all__ = ["teacher", "up"]
