"""Reads logs that other tools wrote as exchanges: files, formats, requests, answers and times.

Knows nothing of where the exchanges go and what is made of them.
"""

from openwheel.importing.exported import line_of
from openwheel.importing.problems import BadLine, LogProblems
from openwheel.importing.read import read_log

__all__ = ["BadLine", "LogProblems", "line_of", "read_log"]
