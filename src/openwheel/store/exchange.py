"""Defines the exchange: one request and its answer, the unit of the traffic log."""

from typing import Final, Literal

import msgspec

from openwheel.wire import APIS, Answer, ApiName, Probabilities, Prompt, Request, Usage

Source = Literal["log", "teacher", "student", "best_effort"]

BY_STUDENTS: Final = frozenset({"student", "best_effort"})
"""The sources whose answers are a student's; students do not learn from them."""

AUDIT_SUFFIX: Final = "-audit"
"""The suffix of an audit's id, after the id of the student's exchange."""

REJECTED: Final = Answer("", (), "rejected")
"""What a teacher answered that rejects a request: as an answer it is not `complete`."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and the answer it got.

    Attributes:
        id: Unique; an exchange whose id the store already holds is not stored again.
        time: Arrival in seconds since 1970; 0.0 if unknown.
        request: The request as JSON, in the shape of its ``api``.
        api: The API that the request was sent to.
        answer: The teacher's answer; for a source of `BY_STUDENTS`, the student's. `REJECTED` if
            the teacher's status rejects the request.
        source: Who answered: "teacher" through the gateway, "log" (a teacher, in a log that was
            imported), "student", or "best_effort": a student below its threshold, since the
            teacher could not be reached.
        model: The model that answered, as the endpoint named it.
        fingerprint: Of the system that ran it (``system_fingerprint``), ``""`` where the endpoint
            sent none.
        teacher: Name of the endpoint that answered, ``""`` for a log that was imported and for
            a student's answer.
        task: The task the client named, ``""`` if it named none.
        latency_ms: From request to complete answer, if known.
        usage: Tokens as the endpoint counted them, if known.
        unbiased: Whether this exchange's answer was collected whatever a student would have
            done: before any student was promoted for the task, or because the audit coin picked
            it. Only such exchanges may calibrate or audit.
        audit_probability: The probability with which the audit coin sends a request to the
            teacher, at the time; 1.0 before promotion.
        student: For a source of `BY_STUDENTS`, and for an audit's teacher answer: the student
            that answered the client. For a teacher's answer without a ``student_answer``: the
            student that deferred the request. Else ``""``.
        student_answer: On an audit's teacher answer: the student's answer to the client.
        student_guess: On the teacher's answer to a request that the student deferred: the answer
            it would have given. Never set beside ``student_answer``, and no audit, since the
            request itself and not a coin decides whether it is deferred.
        student_probabilities: Of the answers that ``student_answer`` or ``student_guess`` could
            have been, where the student gave any. Those of ``answer`` are in it.
        confidence: The student's confidence where one was asked.
        key: Name of the gateway's key that the client used, ``""`` if it needed none.
        reply_id: The id in the body of a teacher's answer, by which the client knows it; ``""``
            for a student's, which has the exchange's own.
        request_id: The id in the teacher's ``x-request-id`` header, likewise.
    """

    id: str
    time: float = 0.0
    request: bytes
    answer: Answer
    source: Source
    api: ApiName = "chat"
    model: str = ""
    task: str = ""
    latency_ms: float | None = None
    usage: Usage | None = None
    unbiased: bool = True
    audit_probability: float = 1.0
    student: str = ""
    student_answer: str | None = None
    student_guess: str | None = None
    confidence: float | None = None
    key: str = ""
    teacher: str = ""
    reply_id: str = ""
    request_id: str = ""
    fingerprint: str = ""
    student_probabilities: Probabilities = ()

    def read(self) -> Request:
        """Return the request as its API reads it, or raise `RequestError`."""
        return APIS[self.api].read_request(self.request)

    def prompt(self) -> Prompt:
        """Return the canonical form of the prompt; raises as `read` does."""
        return self.read().prompt
