"""Sends requests to teachers: one or several endpoints over HTTP, or a recording.

Knows nothing of the gate, of students, or of its callers.
"""

from openwheel.teachers.asking import ask_text, asking, asking_again
from openwheel.teachers.chat_decisions import ChatDecisions
from openwheel.teachers.headers import without_credentials
from openwheel.teachers.http_teacher import HttpTeacher
from openwheel.teachers.nobody import NoTeacher, NoTeacherError
from openwheel.teachers.paths import Place, find_place, listed
from openwheel.teachers.pool import TeacherPool
from openwheel.teachers.recorded import RecordedTeacher
from openwheel.teachers.routes import most_tokens, named_model
from openwheel.teachers.teacher import (
    ApiFamily,
    Headers,
    Sending,
    Teacher,
    TeacherConnectTimeoutError,
    TeacherNotReachedError,
    TeacherRequest,
    TeacherResponse,
    TeacherTimeoutError,
)
from openwheel.teachers.watch import Member, MemberHealth, retry_after
from openwheel.wire import error_body

__all__ = [
    "ApiFamily",
    "ChatDecisions",
    "Headers",
    "HttpTeacher",
    "Member",
    "MemberHealth",
    "NoTeacher",
    "NoTeacherError",
    "Place",
    "RecordedTeacher",
    "Sending",
    "Teacher",
    "TeacherConnectTimeoutError",
    "TeacherNotReachedError",
    "TeacherPool",
    "TeacherRequest",
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
