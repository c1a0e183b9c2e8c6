"""Answers typed questions, each by a student or the teacher, and captures an exchange for each."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Literal

import msgspec
from starlette.types import Message, Receive, Scope, Send

from openwheel.access import RefusedError
from openwheel.errors import TeacherError
from openwheel.gateway.asgi import JSON, Pairs, header_text, send_body, while_connected
from openwheel.gateway.call import Call
from openwheel.gateway.completions import (
    FRESH_S,
    SOURCES,
    Completions,
    answer_headers,
    is_retry,
    left_to_teacher,
    undecided,
)
from openwheel.gateway.edges import take_from_edge
from openwheel.gateway.exchanges import is_coded, student_exchange
from openwheel.gateway.forward import forward
from openwheel.gateway.meter import Source
from openwheel.gateway.reading import is_small
from openwheel.gateway.state import GatewayState
from openwheel.loop.route import route
from openwheel.loop.serving import Decision
from openwheel.store.exchange import Exchange
from openwheel.teachers.teacher import LARGEST
from openwheel.wire import Api, Questions, Request, ordered_id

logger = logging.getLogger(__name__)

MOST_LISTED: Final = 32
"""The most questions whose outcomes are in headers, which clients limit."""

_AT_ONCE: Final = 16
"""Questions that students are asked on the event loop, and pending ones at the same time."""


class Decisions(Completions):
    """The endpoint of an API whose requests ask several questions."""

    def __init__(self, api: Api, state: GatewayState) -> None:
        super().__init__(api, state)
        if api.questions is None:
            raise ValueError(f"the API {api.name} asks no questions")
        self._questions: Questions = api.questions

    async def _read(self, scope: Scope, call: Call) -> None:
        """Read a request and decide who answers each of its questions.

        One draw serves all of them, so that their audits share a call of the teacher. Each
        question's coin still has the probability that is kept with it.

        Raises:
            RefusedError: The key does not allow this request.
        """
        guard = self._state.guard
        requests = await self._read_body(call, self._questions.split)
        if requests is None:
            return
        call.model = requests[0].model
        guard.check_model(call.key, call.model)
        identity = take_from_edge(scope, call) or ordered_id()
        call.id, call.request, call.is_retry = identity, requests[0], is_retry(scope)
        decisions = await self._decide_all(call, requests)
        for decision in decisions:
            guard.check_task(call.key, decision.task)
        alone = len(requests) == 1
        bodies = [call.body] if alone else self._questions.alone(call.body)
        draw = self._state.rng()
        call.parts = tuple(
            msgspec.structs.replace(
                call,
                id=call.id if alone else f"{call.id}.{place}",
                body=body,
                request=request,
                decision=decision,
                route=route(decision, draw),
                source="teacher",
            )
            for place, (body, request, decision) in enumerate(
                zip(bodies, requests, decisions, strict=True)
            )
        )
        if alone:
            call.decision, call.route = call.parts[0].decision, call.parts[0].route
        if self._state.edge is not None:
            self._state.edge.mark(call)

    async def _decide_all(self, call: Call, requests: Sequence[Request]) -> list[Decision]:
        name = call.key.name if call.key else ""
        at_once = is_small(call.body) and len(requests) <= _AT_ONCE
        decided: list[Decision] = []
        for start in range(0, len(requests), _AT_ONCE):
            some = requests[start : start + _AT_ONCE]
            work = [
                self._settled(
                    partial(self._state.serving.decide, request, "", name), at_once=at_once
                )
                for request in some
            ]
            # One decision needs no task of its own.
            decided += [await work[0]] if len(work) == 1 else await asyncio.gather(*work)
        if call.teacher_only:
            return [undecided(decision) for decision in decided]
        return [
            self._allowed(decision, request)
            for decision, request in zip(decided, requests, strict=True)
        ]

    def _allowed(self, decision: Decision, request: Request) -> Decision:
        """Return a decision, without an answer that may not be given or is none to the question."""
        decision = super()._allowed(decision, request)
        text = decision.answer or decision.below_threshold_answer
        if text is None or text in request.echo["question"].answers:
            return decision
        return left_to_teacher(decision, "no answer")

    async def _answer(self, scope: Scope, receive: Receive, send: Send, call: Call) -> None:
        if not call.parts:
            await super()._answer(scope, receive, send, call)
            return
        by_student = [
            place
            for place, part in enumerate(call.parts)
            if part.decision.answer is not None and not part.route.held_back
        ]
        if len(by_student) == len(call.parts):
            await self._students(call, send)
        else:
            await self._with_teacher(scope, receive, send, call, by_student)
        audited = [place for place in by_student if call.parts[place].route.audited]
        if audited and call.status == 200:
            self._audit(scope, self._some(call, audited))

    def _some(self, call: Call, places: Sequence[int]) -> Call:
        """Return the call that has some of the questions of another."""
        parts = tuple(call.parts[place] for place in places)
        if len(parts) == len(call.parts):
            return call
        body = self._questions.only(call.body, places)
        return msgspec.structs.replace(call, body=body, parts=parts)

    async def _with_teacher(
        self, scope: Scope, receive: Receive, send: Send, call: Call, by_student: Sequence[int]
    ) -> None:
        """Ask the teacher what no student answers, and join the answers."""
        rest = [place for place in range(len(call.parts)) if place not in set(by_student)]
        asked = self._some(call, rest)
        asked.source = call.source = "mixed" if by_student else "teacher"
        for place in by_student:
            call.parts[place].source = "student"
        joined = _Joined(send, partial(self._send_joined, call, by_student, send))
        work = forward(
            self._state,
            scope,
            joined if by_student else send,
            asked,
            headers=_all_headers(call),
            tap=partial(self._tap, asked),
            instead=(
                None if call.teacher_only else partial(self._students_instead, scope, call, send)
            ),
            patient=any(part.decision.answer is None for part in asked.parts),
            whole=call,
        )
        try:
            if not await while_connected(receive, work):
                self._state.meter.cancelled += 1
        except TeacherError as error:
            if not joined.holds:
                raise  # the client has the beginning: its connection has to break off too
            await self._send_unjoined(call, send, f"the rest broke off: {error}")
        if asked is not call:
            call.status, call.error = call.status or asked.status, call.error or asked.error
            call.teacher, call.first_byte = asked.teacher, asked.first_byte
            call.response_model, call.finish_reason = asked.response_model, asked.finish_reason
            call.input_tokens, call.output_tokens = asked.input_tokens, asked.output_tokens

    async def _students_instead(self, scope: Scope, call: Call, send: Send, reason: str) -> bool:
        """Let students answer in the teacher's place, if they may; return whether they did.

        They may if each question can be answered by one that is certified to, or by best effort.
        """
        state = self._state
        if time.perf_counter() - call.whole >= FRESH_S:
            requests = [part.request for part in call.parts if part.request is not None]
            for part, decision in zip(
                call.parts, await self._decide_all(call, requests), strict=True
            ):
                part.decision = decision
                try:
                    state.guard.check_task(call.key, decision.task)
                except RefusedError:  # its task has another name by now
                    return False
        sources = [self._source_without_teacher(part.decision) for part in call.parts]
        if any(source is None for source in sources):
            return False
        state.meter.stood_in += 1
        for part, source in zip(call.parts, sources, strict=True):
            part.source = source or "student"
        await self._students(call, send, reason=reason)
        picked = [
            place
            for place, part in enumerate(call.parts)
            if part.route.audited and (part.route.held_back or part.decision.answer is None)
        ]
        if picked:
            self._audit_later(scope, self._some(call, picked))
        return True

    def _source_without_teacher(self, decision: Decision) -> Source | None:
        """Return who would answer if no teacher does, None if nobody."""
        if decision.answer is not None:
            return "student"
        unsure = decision.reason == "confidence" and decision.below_threshold_answer is not None
        tasks = self._state.best_effort
        may = tasks.get(decision.task, tasks.get("*", False))
        return "best_effort" if unsure and may else None

    async def _students(self, call: Call, send: Send, *, reason: str = "") -> None:
        """Send students' answers to all questions."""
        if not reason:
            for part in call.parts:
                part.source = "student"
        effort = any(part.source == "best_effort" for part in call.parts)
        call.source = "best_effort" if effort else "student"
        exchanges = _student_exchanges(call.parts)
        await self._commit(exchanges)
        body = self._questions.body(
            [exchange.answer for _, exchange in exchanges],
            [part.request for part in call.parts if part.request is not None],
            identity=call.id,
        )
        headers = [JSON, *_all_headers(call), (self._api.id_header, call.id.encode())]
        if reason:
            headers.append((b"x-openwheel-fallback", reason.encode()))
        await send_body(send, 200, body, headers)
        call.status = 200
        self._put(exchanges)

    async def _commit(self, exchanges: Sequence[tuple[Call, Exchange]]) -> None:
        """Wait until students' answers are on disk, if capture is strict."""
        recorder = self._state.recorder
        if recorder.strict:
            await recorder.commit_all(
                (exchange, part.decision.task, part.is_retry) for part, exchange in exchanges
            )

    def _put(self, exchanges: Sequence[tuple[Call, Exchange]]) -> None:
        """Keep students' answers that were sent, unless they are kept already."""
        recorder = self._state.recorder
        if not recorder.strict:
            for part, exchange in exchanges:
                recorder.put(exchange, part.decision.task, is_retry=part.is_retry)

    async def _send_joined(
        self, call: Call, by_student: Sequence[int], send: Send, head: Message, body: bytes
    ) -> None:
        """Send students' answers with the teacher's whole answer to the rest."""
        exchanges = _student_exchanges([call.parts[place] for place in by_student])
        answers = {
            place: exchange.answer
            for place, (_, exchange) in zip(by_student, exchanges, strict=True)
        }
        asked = [part.request for part in call.parts if part.request is not None]
        rest = [place for place in range(len(asked)) if place not in answers]
        headers: Pairs = [pair for pair in head["headers"] if pair[0] not in _REPLACED]
        try:
            if is_coded(headers):
                raise TeacherError("It is compressed, though identity was asked for")
            self._questions.read_replies(body, [asked[place] for place in rest])
            joined = self._questions.join(asked, answers, body, rest)
        except TeacherError as error:
            call.error = "teacher_unreadable"
            await self._send_unjoined(call, send, str(error))
            return
        await self._commit(exchanges)
        await send_body(send, 200, joined, [*headers, (self._api.id_header, call.id.encode())])
        call.status = 200
        self._put(exchanges)

    async def _send_unjoined(self, call: Call, send: Send, why: str) -> None:
        """Send the error of a teacher's answer to the rest that is no answer, or no whole one."""
        call.status, call.error = 502, call.error or "teacher_broke_off"
        message = f"The teacher's answer cannot be joined with students' answers: {why}"
        failure = self._api.error(message, type="teacher_error", code=call.error)
        await send_body(send, 502, failure, [JSON])


_REPLACED: Final = frozenset({b"content-length", b"x-request-id", b"x-typesafe-request-id"})
"""Headers of a teacher's answer that the joined answer has anew."""


class _Joined:
    """Holds a teacher's answer until it is whole; a response that is no answer goes on as it comes.

    Args:
        send: Sends to the client.
        finish: Sends the answer, given the message with its head and its whole body.

    Attributes:
        holds: Whether it has a part of the answer, of which the client has nothing.
    """

    def __init__(self, send: Send, finish: Callable[[Message, bytes], Awaitable[None]]) -> None:
        self._send = send
        self._finish = finish
        self._head: Message | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self.holds = False

    async def __call__(self, message: Message) -> None:
        """Take a message of the response."""
        if message["type"] == "http.response.start" and message["status"] == 200:
            self._head, self.holds = message, True
            return
        if self._head is None:
            await self._send(message)
            return
        chunk = message.get("body", b"")
        self._size += len(chunk)
        if self._size > LARGEST:
            raise TeacherError(f"An answer to questions is longer than {LARGEST >> 20} MiB")
        self._chunks.append(chunk)
        if not message.get("more_body", False):
            self.holds = False
            await self._finish(self._head, b"".join(self._chunks))


def _student_exchanges(parts: Sequence[Call]) -> list[tuple[Call, Exchange]]:
    """Return the exchanges of questions that students answered, each with its call."""
    exchanges = []
    for part in parts:
        decision = part.decision
        text = decision.answer
        if text is None:
            text = decision.below_threshold_answer or ""
        source: Literal["student", "best_effort"] = (
            "best_effort" if part.source == "best_effort" else "student"
        )
        exchanges.append((part, student_exchange(part, text, source=source)))
    return exchanges


def _all_headers(call: Call) -> Pairs:
    """Return the headers that say who answered, and how sure the gate and the student are."""
    if len(call.parts) == 1:
        [part] = call.parts
        headers = answer_headers(call.source, part.decision)
        own = _own_probability(part)
        return [*headers, (b"x-openwheel-probability", own.encode())] if own else headers
    headers = [(b"x-openwheel-source", SOURCES[call.source])]
    if len(call.parts) > MOST_LISTED:
        return headers
    decisions = [part.decision for part in call.parts]
    listed = {
        b"x-openwheel-sources": [SOURCES[part.source].decode() for part in call.parts],
        b"x-openwheel-tasks": [decision.task or "-" for decision in decisions],
        b"x-openwheel-confidences": [
            "-" if decision.confidence is None else f"{decision.confidence:.4f}"
            for decision in decisions
        ],
        b"x-openwheel-probabilities": [_own_probability(part) or "-" for part in call.parts],
    }
    return [*headers, *((name, header_text(", ".join(values))) for name, values in listed.items())]


def _own_probability(part: Call) -> str:
    """Return the probability that the student itself gives its answer; ``""`` without one."""
    decision = part.decision
    if part.source not in {"student", "best_effort"}:
        return ""
    answer = decision.answer if decision.answer is not None else decision.below_threshold_answer
    chance = dict(decision.probabilities).get(answer or "")
    return "" if chance is None else f"{chance:.4f}"
