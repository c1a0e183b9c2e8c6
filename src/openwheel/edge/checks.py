"""Checks what an edge sends: it may say what it saw, and not more than its key allows."""

import math
import time
from typing import Final

import msgspec

from openwheel.access import Key
from openwheel.errors import RequestError
from openwheel.store import BY_STUDENTS, Exchange
from openwheel.tasks import Task, TaskMatcher
from openwheel.wire import usable_id

_AHEAD_S: Final = 300.0
_LONGEST: Final = 500


def checked(exchange: Exchange, key: Key, matcher: TaskMatcher, ever: dict[str, str]) -> Exchange:
    """Return an exchange of an edge as it is stored: with the name of the edge's key.

    It is evidence only for the task that its own request belongs to, which the key must be allowed
    to send, and about a student of that task.

    Args:
        exchange: As the edge sent it.
        key: The edge's.
        matcher: Finds the task of its request.
        ever: The task of each student that was ever promoted.

    Raises:
        RequestError: It is not one that this edge may send.
    """
    _check_shape(exchange)
    try:
        prompt = exchange.prompt()
    except RequestError as error:
        raise RequestError(f"its request cannot be read: {error}") from None
    match = matcher.match(prompt, exchange.task)
    task: Task | None = None if match is None else match[0]
    if not key.allows_task("" if task is None else task.name):
        named = "no known task" if task is None else f"the task {task.name}"
        raise RequestError(f"the key may not send exchanges of {named}")
    changed: dict[str, object] = {"key": key.name}
    if exchange.student:
        if exchange.student not in ever:
            raise RequestError(f"the student {exchange.student[:80]!r} was never promoted here")
        # Its task takes other requests by now: it says nothing about this student any more.
        if task is None or ever[exchange.student] != task.id:
            changed["unbiased"] = False
    if exchange.time > time.time() + _AHEAD_S:
        changed["time"] = time.time()
    return msgspec.structs.replace(exchange, **changed)


def _check_shape(exchange: Exchange) -> None:
    """Check that an exchange is one that a gateway could have made.

    Raises:
        RequestError: It is not; the message says why.
    """
    by_student = exchange.source in BY_STUDENTS
    texts = (
        *(exchange.model, exchange.fingerprint, exchange.teacher, exchange.task),
        *(exchange.student, exchange.answer.finish_reason),
    )
    numbers = (exchange.time, exchange.latency_ms or 0.0, exchange.confidence or 0.0)
    faults = {
        "its id is not one": not usable_id(exchange.id),
        "an edge has no logs": exchange.source == "log",
        "a student's answer is no evidence": by_student and exchange.unbiased,
        "a student's answer names no student": by_student and not exchange.student,
        "a student's answer has another beside it": by_student
        and (exchange.student_answer is not None or exchange.student_guess is not None),
        "an answer to compare needs the coin": exchange.student_answer is not None
        and not (exchange.student and exchange.audit_probability),
        "its probability must be in (0, 1]": exchange.unbiased
        and not 0 < exchange.audit_probability <= 1,
        "it is evidence about no student": exchange.unbiased
        and not exchange.student
        and exchange.audit_probability != 1,
        "one of its names is too long": any(len(text) > _LONGEST for text in texts),
        "one of its numbers is none": not all(map(math.isfinite, numbers)),
        "an id of its answer is not one": any(
            one and not usable_id(one) for one in (exchange.reply_id, exchange.request_id)
        ),
    }
    for fault, found in faults.items():
        if found:
            raise RequestError(fault)
