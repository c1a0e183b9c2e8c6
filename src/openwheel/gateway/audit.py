"""Asks the teacher, in the background, for requests that a student has already answered."""

import asyncio
import logging
import time

import msgspec

from openwheel.errors import TeacherError
from openwheel.gateway.call import Call
from openwheel.gateway.exchanges import take_response
from openwheel.gateway.meter import Meter
from openwheel.gateway.recorder import Recorder
from openwheel.loop.route import as_audit
from openwheel.teachers import Headers, NoTeacherError, Teacher, TeacherRequest
from openwheel.wire import without_stream

logger = logging.getLogger(__name__)


class Audits:
    """The audits under way.

    Args:
        recorder: Takes the exchange of each audit that was answered.
        at_once: The most audits to send to the teacher at the same time, so that audits do not
            crowd out the requests that clients wait for.
        waiting: The most audits to have open. Past it audits are given up and counted as failed.
            That depends on load alone, never on the answers, so the audits stay unbiased.
    """

    def __init__(
        self,
        teacher: Teacher,
        meter: Meter,
        recorder: Recorder,
        *,
        at_once: int = 16,
        waiting: int = 1_000,
    ) -> None:
        self._teacher = teacher
        self._meter = meter
        self._recorder = recorder
        self._at_once = asyncio.Semaphore(at_once)
        self._waiting = waiting
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Call, path: str, headers: Headers) -> None:
        """Ask the teacher in the background; of a call with parts those are audited."""
        if len(self._tasks) >= self._waiting:
            self._failed("too many are waiting")
            return
        task = asyncio.get_running_loop().create_task(self._audit(call, path, headers))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def drain(self, timeout: float) -> None:
        """Wait for the audits under way; after ``timeout`` seconds cancel the rest."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout)
        for task in late:
            task.cancel()
            self._failed("the gateway stopped")
        if late:
            await asyncio.wait(late)

    async def _audit(self, call: Call, path: str, headers: Headers) -> None:
        body = without_stream(call.body) if call.stream else call.body
        async with self._at_once:
            started = time.perf_counter()
            try:
                request = TeacherRequest("POST", path, headers, body, call.model)
                response = await self._teacher.send(request)
                answer = await response.read()
                latency_ms = (time.perf_counter() - started) * 1000
                taken = take_response(
                    call,
                    response.status,
                    response.headers,
                    answer,
                    latency_ms,
                    teacher=response.teacher,
                )
            except NoTeacherError:
                return
            except TeacherError as error:
                self._failed(str(error))
                return
        self._meter.audits += len(taken.exchanges)
        self._recorder.spent(response.teacher, taken.reply.usage, len(body), len(answer), None)
        for part, exchange in taken.exchanges:
            audit = as_audit(msgspec.structs.replace(exchange, reply_id="", request_id=""))
            self._recorder.put(audit, part.decision.task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._meter.audits_failed += 1
            logger.critical("An audit failed by a bug", exc_info=error)

    def _failed(self, reason: str) -> None:
        self._meter.audits_failed += 1
        logger.warning("An audit failed: %s", reason)
