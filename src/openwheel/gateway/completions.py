"""Answers the requests that students may answer, and captures their exchanges."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from openwheel.access import RefusedError
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
from openwheel.gateway.authorization import send_refusal
from openwheel.gateway.call import Call
from openwheel.gateway.edges import take_from_edge
from openwheel.gateway.exchanges import REJECTS, student_exchange
from openwheel.gateway.forward import forward, passable, target
from openwheel.gateway.other_paths import PLACE, with_deployment
from openwheel.gateway.reading import is_small, read_large
from openwheel.gateway.spans import request_span
from openwheel.gateway.state import GatewayState
from openwheel.gateway.tap import CostTap, ExchangeTap
from openwheel.gateway.throttled_log import ThrottledLog
from openwheel.loop.route import UNDECIDED, route
from openwheel.loop.serving import Decision, Pending
from openwheel.teachers import TeacherResponse, named_model
from openwheel.wire import Api, Request, ordered_id

logger = logging.getLogger(__name__)

_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]
SOURCES = {
    "student": b"student",
    "teacher": b"teacher",
    "best_effort": b"best-effort",
    "mixed": b"mixed",
}
_RETRIES = (b"x-stainless-retry-count", b"x-typesafe-retry-count")
_Read = TypeVar("_Read")
_MOST_PENDING = 64
# An older decision is made again before a student stands in for the teacher: the student may have
# been taken off meanwhile.
FRESH_S = 1.0


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
        call, state = Call(self._api), self._state
        try:
            call.key = state.guard.identify(scope)
            state.guard.admit(call.key)
            body = await read_body(scope, receive, state.settings.max_body)
            call.body = with_deployment(scope, body) if PLACE in scope else body
            call.whole = time.perf_counter()
            await self._read(scope, call)
        except BodyTooLargeError as error:
            call.status = 413
            await send_too_large(send, error, self._api)
        except RefusedError as error:
            call.status = error.status
            await send_refusal(send, error, self._api)
        except ClientGoneError:
            state.meter.cancelled += 1
            return
        else:
            await self._answer(scope, receive, send, call)
        state.meter.request(
            self._api.name,
            call.source,
            call.status,
            time.perf_counter() - call.started,
            call.first_byte,
            None if len(call.parts) > 1 else call.decision.task,
        )
        if len(call.parts) > 1:
            for part in call.parts:
                state.meter.answered(part.decision.task, part.source)
        if state.tracer is not None:
            state.tracer.record(request_span(scope, call))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, call: Call) -> None:
        request, answer = call.request, call.decision.answer
        if request is not None and answer is not None and not call.route.held_back:
            await self._student(call, request, answer, send)
            if call.route.audited:
                self._audit(scope, call)
            return
        call.source = "teacher"
        work = forward(
            self._state,
            scope,
            send,
            call,
            headers=answer_headers("teacher", call.decision),
            tap=partial(self._tap, call),
            instead=(
                None
                if request is None or call.teacher_only
                else partial(self._instead, scope, call, request, send)
            ),
            # A request that a student can answer need not wait for a teacher that is down.
            patient=answer is None,
        )
        if not await while_connected(receive, work):
            self._state.meter.cancelled += 1

    def _audit(self, scope: Scope, call: Call) -> None:
        """Have the teacher asked too, for a request that students have answered."""
        state = self._state
        start = state.audits.start if state.edge is None else state.edge.audit
        start(call, target(scope), passable(scope, call.key))

    def _audit_later(self, scope: Scope, call: Call) -> None:
        """Have an edge ask about a picked request once the teacher, who is down, is back."""
        if self._state.edge is not None and any(
            part.route.audited for part in call.parts or (call,)
        ):
            self._audit(scope, call)

    async def _read(self, scope: Scope, call: Call) -> None:
        """Read a request and decide who answers it.

        If its body cannot be read, only the teacher may answer.

        Raises:
            RefusedError: The key does not allow this request.
        """
        guard = self._state.guard
        request = await self._read_body(call, self._api.read_request)
        if request is None:
            return
        call.model = request.model
        guard.check_model(call.key, call.model)
        identity = take_from_edge(scope, call)
        call.task = _header_text(header(scope, b"x-openwheel-task")) or request.task
        decision = self._allowed(await self._decide(call, request), request)
        guard.check_task(call.key, decision.task)
        call.id, call.request, call.decision = identity or ordered_id(), request, decision
        call.route = route(decision, self._state.rng())
        if request.prompt.scored:
            # No student will answer such requests, so they are no evidence of what it would answer.
            call.route = call.route._replace(unbiased=False)
        call.is_retry = is_retry(scope)
        if self._state.edge is not None:
            self._state.edge.mark(call)

    async def _read_body(self, call: Call, read: Callable[[bytes], _Read]) -> _Read | None:
        """Read a request's body; None if it cannot be read.

        Raises:
            RefusedError: It cannot be read, and the key does not allow just any request.
        """
        try:
            if is_small(call.body):
                return read(call.body)
            return await read_large(read, call.body, self._state.reading)
        except RequestError:
            call.model = named_model(call.body)
            self._state.guard.check_model(call.key, call.model)
            self._state.guard.check_task(call.key, "")
            return None

    def _allowed(self, decision: Decision, request: Request) -> Decision:
        """Return a decision, without the student's answer if the student may not answer."""
        if decision.answer is None and decision.below_threshold_answer is None:
            return decision
        if request.prompt.answerable and (not request.kept or self._state.settings.answer_kept):
            return decision
        return left_to_teacher(decision, "kept" if request.prompt.answerable else "not plain")

    async def _decide(self, call: Call, request: Request) -> Decision:
        state, name = self._state, call.key.name if call.key else ""
        decide = partial(state.serving.decide, request, call.task, name)
        decision = await self._settled(decide, at_once=is_small(call.body))
        return undecided(decision) if call.teacher_only else decision

    async def _settled(
        self, decide: Callable[[], Decision | Pending], *, at_once: bool
    ) -> Decision:
        """Return a decision, made on the event loop or, if that would take long, in a thread."""
        state, loop = self._state, asyncio.get_running_loop()
        try:
            decision = decide() if at_once else await loop.run_in_executor(state.reading, decide)
            if isinstance(decision, Decision):
                return decision
            if self._pending >= _MOST_PENDING:
                return decision.busy
            self._pending += 1
            try:
                threads = state.remote if decision.remote else state.slow
                return await loop.run_in_executor(threads, decision.decide)
            finally:
                self._pending -= 1
        except OpenwheelError as error:
            state.meter.student_errors += 1
            logger.error("No student could be asked, the teacher answers: %s", error)
            return UNDECIDED

    async def _instead(
        self, scope: Scope, call: Call, request: Request, send: Send, reason: str
    ) -> bool:
        """Let a student answer in the teacher's place, if one may; return whether it did.

        It may if it is certified to answer and only the canary held the request back. With best
        effort it may also if only its confidence is too low.
        """
        decision, state = call.decision, self._state
        if time.perf_counter() - call.whole >= FRESH_S:
            decision = self._allowed(await self._decide(call, request), request)
            try:
                state.guard.check_task(call.key, decision.task)
            except RefusedError:  # its task has another name by now
                return False
        if decision.answer is not None:
            call.decision = decision
            state.meter.stood_in += 1
            self._certified.warning(f"A student answered, as it is certified to: {reason}")
            await self._student(call, request, decision.answer, send, reason=reason)
            self._audit_later(scope, call)
            return True
        unsure = decision.below_threshold_answer if decision.reason == "confidence" else None
        tasks = state.best_effort
        if unsure is None or not tasks.get(decision.task, tasks.get("*", False)):
            return False
        call.decision = decision
        self._unsure.warning(f"Best effort: a student answered below its threshold: {reason}")
        await self._student(call, request, unsure, send, source="best_effort", reason=reason)
        self._audit_later(scope, call)
        return True

    async def _student(
        self,
        call: Call,
        request: Request,
        answer: str,
        send: Send,
        *,
        source: Literal["student", "best_effort"] = "student",
        reason: str = "",
    ) -> None:
        """Send a student's answer in the teacher's shape, for the model asked for."""
        call.source = source
        recorder, task = self._state.recorder, call.decision.task
        exchange = student_exchange(call, answer, source=source)
        if recorder.strict:
            await recorder.commit(exchange, task, is_retry=call.is_retry)
        headers = [*answer_headers(source, call.decision), (self._api.id_header, call.id.encode())]
        if reason:
            headers.append((b"x-openwheel-fallback", reason.encode()))
        if request.stream:
            headers += _EVENT_STREAM
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            events = b"".join(self._api.events(exchange.answer, request, identity=call.id))
            await send({"type": "http.response.body", "body": events})
        else:
            body = self._api.body(exchange.answer, request, identity=call.id)
            await send_body(send, 200, body, [JSON, *headers])
        call.status = 200
        if not recorder.strict:
            recorder.put(exchange, task, is_retry=call.is_retry)

    def _tap(self, call: Call, response: TeacherResponse) -> ExchangeTap | CostTap | None:
        rejected = call.request is not None and response.status in REJECTS
        if response.status != 200 and not rejected:
            return None
        if call.request is None or not call.captured:  # a teacher may charge for it
            return CostTap(response, call, self._state.recorder, generates=True)
        return ExchangeTap(call, response, self._state)


def left_to_teacher(decision: Decision, reason: str) -> Decision:
    """Return a decision without the student's answer."""
    return msgspec.structs.replace(
        decision, answer=None, below_threshold_answer=None, probabilities=(), reason=reason
    )


def undecided(decision: Decision) -> Decision:
    """Return a decision as if no student had been asked; its task is the same."""
    return msgspec.structs.replace(UNDECIDED, task=decision.task, reason="edge")


def is_retry(scope: Scope) -> bool:
    """Whether the client's SDK marks a request as sent before."""
    return any(header(scope, name) not in {b"", b"0"} for name in _RETRIES)


def answer_headers(source: str, decision: Decision) -> Pairs:
    """Return the headers that say who answered."""
    headers = [(b"x-openwheel-source", SOURCES[source])]
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
