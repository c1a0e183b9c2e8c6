"""Trains, saves and loads students: one protocol, one module a rung, and never a pickle.

Knows nothing of HTTP or the gate.
"""

from openwheel.students.calibration import ReliabilityBin
from openwheel.students.files import (
    check_files,
    copy_student,
    load_student,
    read_reliability,
    save_student,
)
from openwheel.students.rung import Lesson, Rung, Saved, Served
from openwheel.students.rungs import rungs, train
from openwheel.students.student import (
    Answers,
    Fitted,
    LabelStudent,
    Predictions,
    Student,
)

__all__ = [
    "Answers",
    "Fitted",
    "LabelStudent",
    "Lesson",
    "Predictions",
    "ReliabilityBin",
    "Rung",
    "Saved",
    "Served",
    "Student",
    "check_files",
    "copy_student",
    "load_student",
    "read_reliability",
    "rungs",
    "save_student",
    "train",
]
