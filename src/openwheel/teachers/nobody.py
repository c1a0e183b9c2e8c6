"""Stands where there is no teacher: students alone answer."""

from openwheel.errors import TeacherError
from openwheel.teachers.teacher import TeacherRequest, TeacherResponse
from openwheel.teachers.watch import MemberHealth


class NoTeacherError(TeacherError):
    """There is no teacher, and there will be none however long one waits."""


class NoTeacher:
    """Answers nothing; see `Teacher`."""

    async def send(self, request: TeacherRequest) -> TeacherResponse:  # noqa: ARG002
        """Raise `NoTeacherError`."""
        raise NoTeacherError("There is no teacher here: certified students alone answer")

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def health(self) -> list[MemberHealth]:
        """Return the health of no teacher."""
        return []
