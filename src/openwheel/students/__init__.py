"""The ``Student`` protocol and one module a rung; saved as safetensors and JSON, never pickle.

Knows nothing of HTTP or the gate.
"""

from openwheel.students.files import load_student, save_student
from openwheel.students.student import Fitted, Predictions, Student
from openwheel.students.train import RUNGS, train

__all__ = [
    "RUNGS",
    "Fitted",
    "Predictions",
    "Student",
    "load_student",
    "save_student",
    "train",
]
