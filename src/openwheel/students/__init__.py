"""The ``Student`` protocol and one module a rung; saved as safetensors and JSON, never pickle.

Knows nothing of HTTP or the gate.
"""

from openwheel.students.files import Served, load_student, save_student
from openwheel.students.student import (
    Fitted,
    Predictions,
    Student,
    Writings,
    WritingStudent,
)
from openwheel.students.train import RUNGS, train

__all__ = [
    "RUNGS",
    "Fitted",
    "Predictions",
    "Served",
    "Student",
    "WritingStudent",
    "Writings",
    "load_student",
    "save_student",
    "train",
]
