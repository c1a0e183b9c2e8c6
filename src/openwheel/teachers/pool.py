"""Joins several teachers to one: chooses which to ask first, and which after a failure."""

import asyncio
import functools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import msgspec

from openwheel.errors import SettingError, TeacherError
from openwheel.teachers.headers import without_credentials
from openwheel.teachers.model_list import join_model_lists, read_model_list
from openwheel.teachers.routes import (
    candidates,
    first,
    named_model,
    no_such_model,
    read_target,
    refusal,
    refused,
    takes,
    why_not,
)
from openwheel.teachers.teacher import (
    Headers,
    TeacherNotReachedError,
    TeacherRequest,
    TeacherResponse,
    TeacherTimeoutError,
    WholeChunks,
    nothing_to_close,
    whole_response,
)
from openwheel.teachers.watch import Member, MemberHealth, Watch

# It is overloaded, broken or unavailable: another may answer. Any other status is about the
# request, and would be the same elsewhere.
_FAILED = frozenset({429, 500, 502, 503, 504, 529})
# Of these, those that mean that no server has begun to work on the request.
_NOT_BEGUN = frozenset({429, 503, 529})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
_LIST_S = 10.0


class TeacherPool:
    """Teachers that stand in for one another, as one `Teacher`.

    A request that any of them can answer goes to one that takes its model, chosen at random by
    weight, members at rest last. If that one fails before the head of its response, it goes to the
    next. A failure is no connection, a broken one, or a status of 429, 500, 502, 503, 504 or 529.
    A request that was sent and not answered within the teacher's read timeout goes to no other:
    the teacher may still be at work on it, and minutes have passed. When all have failed, the last
    response is passed on as it came.

    Requests for stored objects, such as files and responses, go to the first one listed.

    A member that may not be asked for a model (`Member.refuses`) is passed over; where all are, the
    client gets 403.

    With several members no client's credentials are passed on: they are meant for one of them.

    Args:
        members: In order; the first one stores files and responses.
        clock: Seconds, from any start, for rests.
        rng: Draws from [0, 1), for the order.

    Raises:
        SettingError: No members, two of one name, or a member's weight or retries out of range.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        _check(members)
        self._members = tuple(members)
        self._watches = {member.name: Watch(member, clock) for member in members}
        self._rng = rng
        self._looks_at_model = any(m.models or m.refuses is not None for m in members)
        self._candidates = functools.lru_cache(maxsize=1024)(self._find_candidates)

    async def close(self) -> None:
        """Close every member."""
        await asyncio.gather(*(member.teacher.close() for member in self._members))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def health(self) -> list[MemberHealth]:
        """Return the health of each member, in listed order."""
        return [watch.health() for watch in self._watches.values()]

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request to whichever member answers it; see `Teacher.send`."""
        several = len(self._members) > 1
        if several:
            request = request._replace(headers=without_credentials(request.headers))
        target = read_target(request.method, request.path)
        if several and target.goes_to == "all":
            return await self._model_lists(request.headers)
        model = request.model
        if target.goes_to in {"any", "named"}:
            if not model and (several or self._looks_at_model):
                model = named_model(request.body)
                request = request._replace(model=model)
            if model or target.goes_to == "any":
                watches, reason = self._candidates(model, target.messages)
                if reason:
                    return refused(reason, messages=target.messages)
                if not watches:
                    return no_such_model(self._members, model, messages=target.messages)
                return await self._ask(watches, request)
        member = first(self._members, target)
        # A body may name a model on these paths too; without one it is not about a model.
        named = (model or named_model(request.body)) if member.refuses is not None else ""
        if named and (reason := why_not(member, named)):
            return refused(reason, messages=target.messages)
        return await self._watches[member.name].send(request)

    async def _ask(self, watches: Sequence[Watch], request: TeacherRequest) -> TeacherResponse:
        """Ask one after the other until one does not fail; see the class."""
        held: TeacherResponse | None = None
        failure: TeacherError | None = None
        begun = False
        try:
            for watch, pause in self._attempts(watches):
                if pause:
                    await asyncio.sleep(pause)
                try:
                    response = await watch.send(request)
                except TeacherError as error:
                    reached = not isinstance(error, TeacherNotReachedError)
                    if reached and isinstance(error, TeacherTimeoutError):
                        raise
                    # A client that sends the request again must know that one may be at work on it.
                    if reached or not begun:
                        failure = error
                    begun |= reached
                    continue
                if held is not None:
                    held.close()
                held = response
                if response.status not in _FAILED:
                    break
                begun |= response.status not in _NOT_BEGUN
            if held is None:
                raise failure or AssertionError("A request had no candidates")
            passed, held = held, None
            return msgspec.structs.replace(passed, begun=True) if begun else passed
        finally:
            if held is not None:
                held.close()

    def _attempts(self, watches: Sequence[Watch]) -> Iterator[tuple[Watch, float]]:
        """Yield the teachers to ask, each with the seconds to wait before."""
        order = self._order(watches)
        for watch in order:
            yield watch, 0.0
        for retry in range(1, 1 + max(watch.member.retries for watch in order)):
            pause = min(_FIRST_PAUSE_S * 2 ** (retry - 1), _LONGEST_PAUSE_S)
            for watch in order:
                # A member at rest by now has failed enough, or has said when to come back.
                if retry <= watch.member.retries and watch.is_ready():
                    yield watch, pause
                    pause = 0.0

    def _order(self, watches: Sequence[Watch]) -> Sequence[Watch]:
        if len(watches) == 1:
            return watches
        ready = [watch for watch in watches if watch.is_ready()]
        resting = [watch for watch in watches if watch not in ready]
        # Sampling without replacement by weight: Efraimidis and Spirakis (2006), with exponential
        # keys. 1 - u is never 0.
        keys = {
            watch.member.name: -math.log(1.0 - self._rng()) / watch.member.weight for watch in ready
        }
        ready.sort(key=lambda watch: keys[watch.member.name])
        return ready + sorted(resting, key=Watch.busy_until)

    def _find_candidates(self, model: str, messages: bool) -> tuple[tuple[Watch, ...], str]:
        """Return the teachers to ask for a model, or why none may be asked."""
        members = candidates(self._members, model, messages=messages)
        allowed = [member for member in members if not why_not(member, model)]
        reason = refusal(members, model) if members else ""
        return tuple(self._watches[member.name] for member in allowed), reason

    async def _model_lists(self, headers: Headers) -> TeacherResponse:
        """Join the members' lists of models, each without those that the member does not take."""
        watches = list(self._watches.values())
        asked = [watch for watch in watches if watch.is_ready()] or watches
        results = await asyncio.gather(*(_models(watch, headers) for watch in asked))
        lists = [
            (
                watch.member.name,
                [
                    model
                    for model in result
                    if takes(watch.member, model["id"]) and not why_not(watch.member, model["id"])
                ],
            )
            for watch, result in zip(asked, results, strict=True)
            if isinstance(result, list)
        ]
        if lists:
            return whole_response(200, join_model_lists(lists))
        for result in reversed(results):
            if isinstance(result, TeacherResponse):
                return result
        raise next(result for result in reversed(results) if isinstance(result, TeacherError))


async def _models(
    watch: Watch, headers: Headers
) -> list[dict[str, Any]] | TeacherResponse | TeacherError:
    """Return a member's models, or its other answer, or its error."""
    paged = watch.member.api == "anthropic"
    path = "/v1/models?limit=1000" if paged else "/v1/models"
    try:
        async with asyncio.timeout(_LIST_S):
            response = await watch.send(TeacherRequest("GET", path, headers, b""))
            body = await response.read()
    except TeacherError as error:
        return error
    except TimeoutError:
        return TeacherTimeoutError(
            f"The teacher {watch.member.name} did not list its models within {_LIST_S:g} s"
        )
    if response.status == 200:
        try:
            return read_model_list(body)
        except TeacherError:
            pass  # It is passed on as it came, should no other member have a list.
    return msgspec.structs.replace(response, chunks=WholeChunks([body]), close=nothing_to_close)


def _check(members: Sequence[Member]) -> None:
    if not members:
        raise SettingError("A pool of teachers must have at least one, and has none")
    names: set[str] = set()
    for member in members:
        if member.name in names:
            raise SettingError(f"Teachers must have names of their own; two are {member.name!r}")
        names.add(member.name)
        if not (member.weight > 0 and math.isfinite(member.weight)):
            raise SettingError(
                f"The weight of teacher {member.name!r} must be above 0, but is {member.weight}"
            )
        if member.retries < 0:
            raise SettingError(
                f"The retries of teacher {member.name!r} must be 0 or more, was {member.retries}"
            )
