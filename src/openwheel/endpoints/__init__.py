"""Teachers: the endpoints whose answers define right, over HTTP or from a recording, one or many.

Knows nothing of the gate, of students, or of who asks.
"""

from openwheel.endpoints.asking import ask_text, asking, asking_again
from openwheel.endpoints.headers import without_credentials
from openwheel.endpoints.http_teacher import HttpTeacher
from openwheel.endpoints.paths import Place, find_place, listed
from openwheel.endpoints.pool import TeacherPool
from openwheel.endpoints.recorded import RecordedTeacher
from openwheel.endpoints.routes import most_tokens, named_model
from openwheel.endpoints.teacher import (
    ApiFamily,
    Headers,
    Sending,
    Teacher,
    TeacherConnectTimeoutError,
    TeacherNotReachedError,
    TeacherResponse,
    TeacherTimeoutError,
)
from openwheel.endpoints.watch import Member, MemberHealth, retry_after
from openwheel.wire import error_body

__all__ = [
    "ApiFamily",
    "Headers",
    "HttpTeacher",
    "Member",
    "MemberHealth",
    "Place",
    "RecordedTeacher",
    "Sending",
    "Teacher",
    "TeacherConnectTimeoutError",
    "TeacherNotReachedError",
    "TeacherPool",
    "TeacherResponse",
    "TeacherTimeoutError",
    "ask_text",
    "asking",
    "asking_again",
    "error_body",
    "find_place",
    "listed",
    "most_tokens",
    "named_model",
    "retry_after",
    "without_credentials",
]
