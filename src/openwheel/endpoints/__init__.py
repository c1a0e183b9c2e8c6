"""Teachers: the endpoints whose answers define right, over HTTP or from a recording.

Knows nothing of the gate, of students, or of who asks.
"""

from openwheel.endpoints.http_teacher import HttpTeacher
from openwheel.endpoints.recorded import RecordedTeacher
from openwheel.endpoints.teacher import (
    Headers,
    Teacher,
    TeacherResponse,
    TeacherTimeoutError,
    error_body,
)

__all__ = [
    "Headers",
    "HttpTeacher",
    "RecordedTeacher",
    "Teacher",
    "TeacherResponse",
    "TeacherTimeoutError",
    "error_body",
]
