"""Asking a teacher one question and getting the text of its answer, as a judge is asked."""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable

from openwheel.endpoints.routes import named_model
from openwheel.endpoints.teacher import ApiFamily, Teacher
from openwheel.errors import TeacherError
from openwheel.wire import read_reply
from openwheel.wire.messages import read_message

_PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
_MOST_BYTES = 8 << 20
"""More than any answer to one question; what is longer is no answer."""


@contextlib.asynccontextmanager
async def asking(
    make: Callable[[], Teacher], *, model: str = "", api: ApiFamily = "openai"
) -> AsyncIterator[Callable[[bytes], Awaitable[str]]]:
    """Connect to a teacher on the running event loop; yield a way to ask it.

    Args:
        make: Makes the teacher; it is closed when the block ends.
        model: The model that decides which of several teachers is asked; by default the one that
            a body names.
        api: The API whose requests the bodies are.
    """
    teacher = make()
    try:
        yield functools.partial(ask_text, teacher, model=model, api=api)
    finally:
        await teacher.close()


async def ask_text(
    teacher: Teacher, body: bytes, *, model: str = "", api: ApiFamily = "openai"
) -> str:
    """Send the body of a request and return the final text of the answer, without thoughts.

    Raises:
        TeacherError: It could not be reached, broke off, or sent no answer.
    """
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    response = await teacher.send(
        "POST", _PATHS[api], headers, body, model=model or named_model(body)
    )
    try:
        parts, size = [], 0
        async for chunk in response.chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > _MOST_BYTES:
                raise TeacherError(f"The answer to a question is longer than {_MOST_BYTES:,} bytes")
    finally:
        response.close()
    if response.status != 200:
        raise TeacherError(f"A question was answered with status {response.status}")
    read = read_message if api == "anthropic" else read_reply
    return read(b"".join(parts)).answer.final
