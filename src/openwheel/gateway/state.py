"""Holds the state that all endpoints of a gateway share."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import msgspec

from openwheel.gateway.audit import Audits
from openwheel.gateway.authorization import Guard
from openwheel.gateway.edges import EdgeSide
from openwheel.gateway.meter import Meter
from openwheel.gateway.patient_teacher import PatientTeacher
from openwheel.gateway.recorder import Recorder
from openwheel.gateway.tracing import Tracer
from openwheel.loop.serving import Serving
from openwheel.settings import GatewaySection


class TapMemory(msgspec.Struct):
    """The memory of all answers under way, which is limited.

    Attributes:
        most: Bytes they may hold; past it an answer is passed on and not captured.
        held: Bytes they hold.
    """

    most: int = 256 << 20
    held: int = 0


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """The state that all endpoints share.

    Attributes:
        teacher: The teacher, with the waits of ``teacher_wait``.
        taps: The memory of answers under way.
        slow: Runs students that take milliseconds, so that the event loop does not wait.
        remote: Waits for students that another process runs.
        reading: Reads large requests, and asks students about them.
        rng: Draws from [0, 1) for the audit coin.
        settings: The limits of clients.
        best_effort: Whether a student may answer below its threshold while the teacher is down,
            by task name; ``*`` stands for all others.
        tracer: Sends spans, if any are wanted.
        edge: The edge that this gateway is part of, None for any other.
    """

    teacher: PatientTeacher
    serving: Serving
    guard: Guard
    recorder: Recorder
    audits: Audits
    meter: Meter
    taps: TapMemory
    slow: Executor
    remote: Executor
    reading: Executor
    rng: Callable[[], float]
    settings: GatewaySection
    best_effort: Mapping[str, bool] = {}
    tracer: Tracer | None = None
    edge: EdgeSide | None = None
