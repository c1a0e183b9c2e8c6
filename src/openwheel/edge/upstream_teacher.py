"""Asks the upstream gateway as a teacher, as long as the link is there."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Final, Self, TypeVar

import msgspec

from openwheel.edge.link import Link
from openwheel.errors import TeacherError
from openwheel.teachers import (
    HttpTeacher,
    TeacherNotReachedError,
    TeacherRequest,
    TeacherResponse,
)

_LOOK_S: Final = 0.25
_Done = TypeVar("_Done")


class UpstreamTeacher:
    """The upstream gateway as a teacher; fails at once while the link is down. See `Teacher`."""

    def __init__(self, teacher: HttpTeacher, link: Link) -> None:
        self._teacher = teacher
        self._link = link

    async def close(self) -> None:
        """Close every connection."""
        await self._teacher.close()

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request; one that waits for its answer is broken off when the link goes down."""
        if not self._link.up:
            raise TeacherNotReachedError(f"The link is down: {self._link.error}")
        started = time.monotonic()
        try:
            response = await _while_up(self._link, self._teacher.send(request), started)
        except TeacherNotReachedError as error:
            self._link.lost(str(error))
            raise
        if response.status == 401:
            response.close()
            raise TeacherError("The upstream gateway refuses the key of this edge (status 401)")
        watched = _Watched(response.chunks, self._link, started)
        return msgspec.structs.replace(response, chunks=watched)


class _Watched:
    """The body of an answer, which breaks off when the link goes down."""

    def __init__(self, chunks: AsyncIterator[bytes], link: Link, started: float) -> None:
        self._chunks = chunks
        self._link = link
        self._started = started

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await _while_up(self._link, self._chunks.__anext__(), self._started)


async def _while_up(link: Link, work: Awaitable[_Done], started: float) -> _Done:
    """Wait for something that comes over the link, as long as it is there.

    A cable that is pulled says nothing: only the link's own looks notice.

    Raises:
        TeacherError: The link has gone down since a time of `time.monotonic`.
    """
    task = asyncio.ensure_future(work)
    try:
        while True:
            await asyncio.wait([task], timeout=_LOOK_S)
            if task.done():
                return task.result()
            if not link.up and link.down_since > started:
                raise TeacherError(f"The link went down: {link.error}")
    finally:
        task.cancel()
