"""Teachers: the endpoints whose answers define right, over HTTP or from a recording.

Knows nothing of the gate, of students, or of who asks.
"""

from openwheel.endpoints.http_teacher import HttpTeacher
from openwheel.endpoints.recorded import RecordedTeacher
from openwheel.endpoints.teacher import (
    ApiFamily,
    Headers,
    Teacher,
    TeacherConnectTimeoutError,
    TeacherResponse,
    TeacherTimeoutError,
    error_body,
)

__all__ = [
    "ApiFamily",
    "Headers",
    "HttpTeacher",
    "RecordedTeacher",
    "Teacher",
    "TeacherConnectTimeoutError",
    "TeacherResponse",
    "TeacherTimeoutError",
    "error_body",
]
