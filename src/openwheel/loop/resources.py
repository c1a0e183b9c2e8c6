"""Provides what rungs need from outside to train and to answer: an encoder, and an engine."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from openwheel.executors import Executor
from openwheel.executors.ray import RayCluster
from openwheel.inference.front import LEAST_CONTEXT
from openwheel.inference.local import make_front
from openwheel.inference.remote import RemoteWriter
from openwheel.inference.server import serving
from openwheel.loop.adapters import Adapters, AdapterServer
from openwheel.loop.drift.self_disagreement import ConnectAgain
from openwheel.loop.judging import Connect
from openwheel.settings import EngineSection, LmSection
from openwheel.students.encoder import TextEncoder
from openwheel.students.onnx_encoder import Encoders
from openwheel.students.tune.tuning import open_encoder

if TYPE_CHECKING:
    from openwheel.loop.settings import LoopSettings


class Resources(msgspec.Struct, frozen=True):
    """What rungs need from outside.

    Attributes:
        encoder: The sentence encoder of the rung ``encoder``. Without one, students load the
            encoder they were trained with to answer.
        adapters: Serves the adapters of the rung ``lm``; None where there is no engine.
        encoders: Students' own encoders, each loaded once.
        connect: Reaches the teachers, for a judge; None where there are none.
        connect_again: Reaches the teachers, to ask them twice; None if they are not asked twice.
        executor: Carries out heavy computations; None: this process does.
    """

    encoder: TextEncoder | None = None
    adapters: Adapters | None = None
    encoders: Encoders | None = None
    connect: Connect | None = None
    connect_again: ConnectAgain | None = None
    executor: Executor | None = None


NO_RESOURCES = Resources()


@contextlib.contextmanager
def open_resources(
    settings: "LoopSettings",
    connect: Connect | None = None,
    connect_again: ConnectAgain | None = None,
) -> Iterator[Resources]:
    """Open the resources that the settings ask for, until the block ends.

    If no server has the base of students, an engine is started with the first adapter. The
    connections reach the teachers: for a judge, and to ask them twice.
    """
    with contextlib.ExitStack() as stack:
        encoder = open_encoder(settings.encoder) if settings.builds_on("encoder") else None
        adapters = adapters_of(settings.lm, settings.engine, stack) if settings.lm.base else None
        yield Resources(
            encoder, adapters, Encoders(), connect, connect_again, executor_of(settings)
        )


def executor_of(settings: "LoopSettings") -> Executor | None:
    """Return where heavy computations are carried out; None: in this process.

    Raises:
        SettingError: Ray is not installed.
    """
    if settings.executor == "local":
        return None
    return RayCluster(settings.ray_address, at_once=settings.jobs_at_once)


def adapters_of(
    lm: LmSection,
    engine: EngineSection,
    stack: contextlib.ExitStack,
    *,
    timeout: float = 600.0,
    rest: float = 0.0,
) -> Adapters:
    """Return the server of adapters for the settings' base; the stack closes it.

    An engine is started where no server has the base. An answer may take ``timeout`` seconds; a
    server that could not be reached is asked again after ``rest`` seconds.
    """

    def connect() -> AdapterServer:
        if lm.server:
            api, key = lm.server_api, lm.server_key_env
            writer = RemoteWriter(lm.server, dialect=api, key_env=key, timeout=timeout)
        else:
            front = make_front(
                lm.gguf or lm.base,
                engine,
                name=lm.base,
                revision="" if lm.gguf else lm.revision,
                context=LEAST_CONTEXT,
            )
            writer = RemoteWriter(stack.enter_context(serving(front)), timeout=timeout)
        stack.callback(writer.close)
        return writer

    return Adapters(connect, rest=rest)
