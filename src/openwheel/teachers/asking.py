"""Asks a teacher a question and returns the text of its answer, for judges."""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable

from openwheel.errors import TeacherError
from openwheel.teachers.routes import named_model
from openwheel.teachers.teacher import ApiFamily, Teacher, TeacherRequest
from openwheel.wire import APIS, ApiName, Reply, read_reply, without_stream
from openwheel.wire.messages import read_message

_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@contextlib.asynccontextmanager
async def asking(
    make: Callable[[], Teacher], *, model: str = "", api: ApiFamily = "openai"
) -> AsyncIterator[Callable[[bytes], Awaitable[str]]]:
    """Connect to a teacher on the running event loop; yield a way to ask it, as `ask_text` does."""
    teacher = make()
    try:
        yield functools.partial(ask_text, teacher, model=model, api=api)
    finally:
        await teacher.close()


async def ask_text(
    teacher: Teacher, body: bytes, *, model: str = "", api: ApiFamily = "openai"
) -> str:
    """Send a body and return the answer's final text, without reasoning; raises `TeacherError`."""
    _, answer = await _answer(teacher, _PATHS[api], body, model)
    read = read_message if api == "anthropic" else read_reply
    return read(answer).answer.final


@contextlib.asynccontextmanager
async def asking_again(
    make: Callable[[], Teacher],
) -> AsyncIterator[Callable[[ApiName, bytes], Awaitable[tuple[Reply, str]]]]:
    """Connect to teachers on the running event loop; yield a way to repeat requests."""
    teacher = make()
    try:
        yield functools.partial(ask_again, teacher)
    finally:
        await teacher.close()


async def ask_again(teacher: Teacher, api: ApiName, body: bytes) -> tuple[Reply, str]:
    """Send the body of an earlier request, not streamed; return the answer and who gave it."""
    name, answer = await _answer(teacher, APIS[api].path, without_stream(body), "")
    return APIS[api].read_reply(answer), name


async def _answer(teacher: Teacher, path: str, body: bytes, model: str) -> tuple[str, bytes]:
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    request = TeacherRequest("POST", path, headers, body, model or named_model(body))
    response = await teacher.send(request)
    read = await response.read()
    if response.status != 200:
        raise TeacherError(f"A question was answered with status {response.status}")
    return response.teacher, read
