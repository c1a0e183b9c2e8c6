"""Serves ``POST /v1/feedback``: clients' feedback on answers they got."""

import asyncio
import collections
import logging
from concurrent.futures import Executor
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from openwheel.access import Key, RefusedError
from openwheel.errors import StoreError
from openwheel.gateway.asgi import (
    BodyTooLargeError,
    ClientGoneError,
    method_not_allowed,
    read_body,
    send_error,
    send_json,
    send_too_large,
)
from openwheel.gateway.authorization import Guard, send_refusal
from openwheel.gateway.meter import Meter
from openwheel.loop.feedback.desk import (
    Feedback,
    FeedbackError,
    Speaker,
    UnknownExchangeError,
    read_feedback,
)
from openwheel.wire import APIS

logger = logging.getLogger(__name__)

MOST_BODY: Final = 256 << 10
PATH: Final = "/v1/feedback"

# An answer is committed within 50 ms of its end; a slow disk may take longer.
_WAITS_S: Final = (0.06, 0.15, 0.4, 1.0)
_MOST_AT_ONCE: Final = 64


class Desk(Protocol):
    """Takes feedback; see `openwheel.loop.feedback.desk.FeedbackDesk`."""

    def take(self, feedback: Feedback, key: Speaker | None) -> str:
        """Keep a client's feedback."""


class FeedbackEndpoint:
    """``POST /v1/feedback``.

    Args:
        desk: Takes feedback, in a thread; None if exchanges are not captured.
        threads: Where the desk works.
    """

    def __init__(self, desk: Desk | None, guard: Guard, meter: Meter, threads: Executor) -> None:
        self._desk = desk
        self._guard = guard
        self._meter = meter
        self._threads = threads
        self._pending: collections.Counter[int] = collections.Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await method_not_allowed(scope, send, "POST")
            return
        try:
            key = self._guard.identify(scope)
            self._guard.count(key)
            body = await read_body(scope, receive, MOST_BODY)
            await self._take(read_feedback(body), _speaker(key))
        except BodyTooLargeError as error:
            self._meter.feedback_refused += 1
            await send_too_large(send, error, APIS["chat"])
        except RefusedError as error:
            self._meter.feedback_refused += 1
            await send_refusal(send, error, APIS["chat"])
        except ClientGoneError:
            self._meter.cancelled += 1
        except FeedbackError as error:
            self._meter.feedback_refused += 1
            wait = [(b"retry-after", b"1")] if error.status == 503 else []
            await send_error(send, error.status, f"{error}.", code=error.code, headers=wait)
        except StoreError as error:
            self._meter.feedback_refused += 1
            logger.error("Feedback could not be kept: %s", error)
            await send_error(
                send,
                503,
                "Feedback cannot be kept at the moment; try again.",
                type="server_error",
                code="store_unavailable",
                headers=[(b"retry-after", b"5")],
            )
        else:
            self._meter.feedback += 1
            await send_json(send, 200, {"object": "feedback", "status": "accepted"})

    async def _take(self, feedback: Feedback, key: Speaker | None) -> None:
        """Keep feedback; if its answer is not found, wait a little for the commit."""
        if self._desk is None:
            raise FeedbackError(
                "This gateway keeps no answers, so it takes no feedback on them",
                status=404,
                code="feedback_off",
            )
        speaker = 0 if key is None else key.id
        # However many clients send, one with no request waiting finds room; one alone has half of
        # it.
        free = _MOST_AT_ONCE - self._pending.total()
        if self._pending[speaker] >= free and (key is not None or free <= 0):
            raise FeedbackError("Too much feedback at once; try again", status=503, code="busy")
        self._pending[speaker] += 1
        try:
            loop = asyncio.get_running_loop()
            for wait in _WAITS_S:
                try:
                    await loop.run_in_executor(self._threads, self._desk.take, feedback, key)
                except UnknownExchangeError:
                    await asyncio.sleep(wait)
                else:
                    return
            await loop.run_in_executor(self._threads, self._desk.take, feedback, key)
        finally:
            self._pending[speaker] -= 1
            if not self._pending[speaker]:
                del self._pending[speaker]


def _speaker(key: Key | None) -> Speaker | None:
    if key is None:
        return None
    return Speaker(key.id, key.name, key.created, anywhere=key.trust == "high")
