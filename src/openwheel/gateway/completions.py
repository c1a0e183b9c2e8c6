"""The endpoints where students may answer: decide who does, answer, hand on the exchange."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
from starlette.types import Receive, Scope, Send

from openwheel.access import Key, RefusedError
from openwheel.errors import OpenwheelError, RequestError
from openwheel.gateway.asgi import (
    JSON,
    BodyTooLargeError,
    ClientGoneError,
    Pairs,
    header,
    header_text,
    method_not_allowed,
    read_body,
    send_body,
    send_too_large,
    while_connected,
)
from openwheel.gateway.call import Passage
from openwheel.gateway.exchanges import REJECTS, Asked, student_exchange
from openwheel.gateway.forward import forward, passable, target
from openwheel.gateway.guard import send_refusal
from openwheel.gateway.places import PLACE, with_deployment
from openwheel.gateway.reading import is_small, read_large
from openwheel.gateway.spans import request_span
from openwheel.gateway.state import GatewayState
from openwheel.gateway.tap import CostTap, ExchangeTap
from openwheel.gateway.throttled_log import ThrottledLog
from openwheel.loop.route import UNDECIDED, route
from openwheel.loop.serving import Decision
from openwheel.teachers import TeacherResponse, named_model
from openwheel.wire import Api, Request

logger = logging.getLogger(__name__)

_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]
_SOURCES = {"student": b"student", "teacher": b"teacher", "best_effort": b"best-effort"}
_MOST_PENDING = 64
# What was decided longer ago is decided anew before a student stands in for the teacher: it may
# have been taken off meanwhile.
_FRESH_S = 1.0


class Completions:
    """One API's endpoint."""

    def __init__(self, api: Api, state: GatewayState) -> None:
        self._api = api
        self._state = state
        self._pending = 0
        self._certified = ThrottledLog(logger)
        self._unsure = ThrottledLog(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await method_not_allowed(scope, send, "POST", self._api)
            return
        passage, asked = Passage(self._api), None
        try:
            passage.key = self._state.guard.identify(scope)
            self._state.guard.admit(passage.key)
            body = await read_body(scope, receive, self._state.max_body)
            passage.body = with_deployment(scope, body) if PLACE in scope else body
            asked = await self._ask(scope, passage.body, passage.key)
        except BodyTooLargeError as error:
            passage.status = 413
            await send_too_large(send, error, self._api)
        except RefusedError as error:
            passage.status = error.status
            await send_refusal(send, error, self._api)
        except ClientGoneError:
            self._state.meter.cancelled += 1
            return
        else:
            await self._answer(scope, receive, send, asked, passage)
        task = asked.decision.task if passage.source != "refused" and asked else ""
        self._state.meter.request(
            self._api.name,
            passage.source,
            passage.status,
            time.perf_counter() - passage.started,
            passage.first_byte,
            task,
        )
        if self._state.tracer is not None:
            self._state.tracer.record(request_span(scope, passage, asked))

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        asked: Asked | None,
        passage: Passage,
    ) -> None:
        if asked is not None and asked.decision.answer is not None and not asked.way.held_back:
            await self._student(asked, asked.decision.answer, send, passage)
            if asked.way.audited:
                headers = passable(scope, passage.key)
                self._state.audits.start(asked, target(scope), headers)
            return
        passage.source = "teacher"
        work = forward(
            self._state,
            scope,
            send,
            passage,
            model=asked.request.model if asked else named_model(passage.body),
            headers=_headers("teacher", asked),
            tap=self._tap(asked, passage),
            instead=None if asked is None else partial(self._instead, asked, send, passage),
            # Whom a student can answer need not wait for a teacher that is down.
            patient=asked is None or asked.decision.answer is None,
        )
        if not await while_connected(receive, work):
            self._state.meter.cancelled += 1

    async def _ask(self, scope: Scope, body: bytes, key: Key | None) -> Asked | None:
        """Decide who answers; None if the body cannot be read, so that only the teacher may.

        Raises:
            RefusedError: The key does not allow this request.
        """
        arrived, started = time.time(), time.perf_counter()
        guard = self._state.guard
        try:
            if is_small(body):
                request = self._api.read_request(body)
            else:
                request = await read_large(self._api, body, self._state.reading)
        except RequestError:
            guard.check_model(key, named_model(body))
            guard.check_task(key, "")
            return None
        guard.check_model(key, request.model)
        task = _header_text(header(scope, b"x-openwheel-task")) or request.task
        decision = self._allowed(await self._decide(request, task, body), request)
        guard.check_task(key, decision.task)
        return Asked(
            time=arrived,
            started=started,
            body=body,
            api=self._api,
            request=request,
            task=task,
            key=key.name if key else "",
            again=header(scope, b"x-stainless-retry-count") not in {b"", b"0"},
            decision=decision,
            way=route(decision, self._state.rng()),
        )

    def _allowed(self, decision: Decision, request: Request) -> Decision:
        """Return a decision without the student's answer where none may be given."""
        if decision.answer is None and decision.below_threshold_answer is None:
            return decision
        if request.prompt.plain and (not request.kept or self._state.answer_kept):
            return decision
        reason = "kept" if request.prompt.plain else "not plain"
        return msgspec.structs.replace(
            decision, answer=None, below_threshold_answer=None, reason=reason
        )

    async def _decide(self, request: Request, task: str, body: bytes) -> Decision:
        serving = self._state.serving
        try:
            if is_small(body):
                decision = serving.decide(request, task)
            else:
                loop, reading = asyncio.get_running_loop(), self._state.reading
                decision = await loop.run_in_executor(reading, serving.decide, request, task)
            if decision.pending is None:
                return decision
            if self._pending >= _MOST_PENDING:
                return msgspec.structs.replace(decision, pending=None, reason="busy")
            self._pending += 1
            try:
                loop = asyncio.get_running_loop()
                threads = self._state.remote if decision.remote else self._state.slow
                return await loop.run_in_executor(threads, decision.pending)
            finally:
                self._pending -= 1
        except OpenwheelError as error:
            self._state.meter.student_errors += 1
            logger.error("No student could be asked, the teacher answers: %s", error)
            return UNDECIDED

    async def _instead(self, asked: Asked, send: Send, passage: Passage, why: str) -> bool:
        """Have a student answer in the teacher's place, if one may; return whether one did.

        It may where it is certified to, which the canary alone kept it from, and, if that is
        wanted, where only its confidence is too low.
        """
        try:
            asked = await self._renewed(asked, passage)
        except RefusedError:  # its task has another name by now
            return False
        decision, meter = asked.decision, self._state.meter
        if decision.answer is not None:
            meter.stood_in += 1
            self._certified.warning(f"A student answered, as it is certified to: {why}")
            await self._student(asked, decision.answer, send, passage, why=why)
            return True
        wanted = self._state.best_effort
        guess = decision.below_threshold_answer if decision.reason == "confidence" else None
        if guess is None or not wanted.get(decision.task, wanted.get("*", False)):
            return False
        self._unsure.warning(f"Best effort: a student answered below its threshold: {why}")
        await self._student(asked, guess, send, passage, source="best_effort", why=why)
        return True

    async def _renewed(self, asked: Asked, passage: Passage) -> Asked:
        if time.perf_counter() - asked.started < _FRESH_S:
            return asked
        decision = await self._decide(asked.request, asked.task, asked.body)
        decision = self._allowed(decision, asked.request)
        self._state.guard.check_task(passage.key, decision.task)
        return msgspec.structs.replace(asked, decision=decision)

    async def _student(
        self,
        asked: Asked,
        answer: str,
        send: Send,
        passage: Passage,
        *,
        source: Literal["student", "best_effort"] = "student",
        why: str = "",
    ) -> None:
        """Answer as the teacher would have: the model asked for, a stream if one was."""
        passage.source = source
        recorder, task = self._state.recorder, asked.decision.task
        exchange = student_exchange(asked, answer, _ms_since(asked.started), source=source)
        if recorder.strict:
            await recorder.commit(exchange, task, again=asked.again)
        headers = [*_headers(source, asked), (self._api.id_header, asked.id.encode())]
        if why:
            headers.append((b"x-openwheel-fallback", why.encode()))
        if asked.request.stream:
            headers += _EVENT_STREAM
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            events = b"".join(self._api.events(answer, asked.request, identity=asked.id))
            await send({"type": "http.response.body", "body": events})
        else:
            body = self._api.body(answer, asked.request, identity=asked.id)
            await send_body(send, 200, body, [JSON, *headers])
        passage.status = 200
        if not recorder.strict:
            recorder.put(exchange, task, again=asked.again)

    def _tap(
        self, asked: Asked | None, passage: Passage
    ) -> Callable[[TeacherResponse], ExchangeTap | CostTap | None]:
        def tap(response: TeacherResponse) -> ExchangeTap | CostTap | None:
            rejected = asked is not None and response.status in REJECTS
            if response.status != 200 and not rejected:
                return None
            if asked is None:  # a teacher may read what this gateway cannot, and wants its money
                return CostTap(response, passage, self._state.recorder, generates=True)
            return ExchangeTap(asked, passage, response, self._state)

        return tap


def _headers(source: str, asked: Asked | None) -> Pairs:
    headers = [(b"x-openwheel-source", _SOURCES[source])]
    if asked is not None:
        decision = asked.decision
        if decision.task:
            headers.append((b"x-openwheel-task", header_text(decision.task)))
        if decision.confidence is not None:
            headers.append((b"x-openwheel-confidence", b"%.4f" % decision.confidence))
    return headers


def _header_text(value: bytes) -> str:
    """Decode a header value as clients send it: UTF-8 nowadays, Latin-1 by the old standard."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
