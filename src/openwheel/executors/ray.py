"""Carries out jobs on a Ray cluster, through a process of its own that speaks to it.

The learner imports no Ray: that process can hang, crash, or be ended by Ray when the cluster is
gone, and the learner goes on.
"""

import contextlib
import importlib.util
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openwheel.errors import JobDiedError, ModelError, SettingError
from openwheel.executors.computation import Computation, Session
from openwheel.executors.messages import (
    EVENTS,
    Connect,
    Connected,
    Drop,
    Ended,
    Event,
    Start,
    Warned,
)
from openwheel.job import Job, started

logger = logging.getLogger(__name__)

HERE = "auto"
"""Ray's address of the cluster that runs on this machine."""


class RayCluster:
    """A Ray cluster.

    Args:
        address: As Ray takes it; empty: the environment's RAY_ADDRESS, else the cluster that runs
            on this machine.
        at_once: How many jobs at most.

    Raises:
        SettingError: Ray is not installed.
    """

    def __init__(self, address: str, *, at_once: int) -> None:
        if importlib.util.find_spec("ray") is None:
            raise SettingError(
                "loop.executor = \"ray\" needs the extra `ray`: pip install 'openwheel[ray]'"
            )
        self.address = address or os.environ.get("RAY_ADDRESS") or HERE
        self.at_once = at_once

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Return a session; the cluster is reached when its first job starts."""
        with contextlib.ExitStack() as stack:
            yield _RaySession(self, stack)


class _RaySession:
    def __init__(self, cluster: RayCluster, stack: contextlib.ExitStack) -> None:
        self.at_once = cluster.at_once
        self._cluster = cluster
        self._stack = stack
        self._job: Job[Event] | None = None
        self._problem = ""
        self._under_way: set[str] = set()
        self._ended: dict[str, Ended] = {}

    def require(self) -> None:
        """See `Session.require`."""
        self._connected()

    def start(self, computation: Computation[Any], folder: Path) -> None:
        """See `Session.start`."""
        message = Start(str(folder), computation.module, computation.name, computation.needs)
        job = self._connected()
        try:
            job.say(message)
        except JobDiedError as error:
            raise self._gone(error) from None
        self._under_way.add(message.folder)

    def wait(self, folder: Path) -> None:
        """See `Session.wait`."""
        job = self._connected()
        while (ended := self._ended.pop(str(folder), None)) is None:
            try:
                event = job.next()
            except ModelError as error:
                raise self._gone(error) from None
            if isinstance(event, Warned):
                logger.warning("%s", event.text)
            elif isinstance(event, Ended):
                self._ended[event.folder] = event
                self._under_way.discard(event.folder)
        if ended.problem:
            raise (JobDiedError if ended.died else ModelError)(ended.problem)

    def drop(self, folder: Path) -> None:
        """See `Session.drop`."""
        if self._job is None or str(folder) not in self._under_way:
            return
        self._under_way.discard(str(folder))
        with contextlib.suppress(JobDiedError):  # its jobs end with it
            self._job.say(Drop(str(folder)))

    def _connected(self) -> Job[Event]:
        """Return the process, connected; a cluster that was not reached is not tried again."""
        if self._problem:
            raise ModelError(self._problem)
        if self._job is not None:
            return self._job
        address = self._cluster.address
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="openwheel-ray-"))
        try:
            job = self._stack.enter_context(
                started(
                    "openwheel.executors.ray_driver",
                    Connect(address),
                    Path(folder),
                    EVENTS,
                    name=f"The connection to the Ray cluster at {address}",
                )
            )
            while not isinstance(job.next(), Connected):
                pass
        except ModelError as error:
            raise self._gone(error) from None
        self._job = job
        return job

    def _gone(self, error: ModelError) -> ModelError:
        self._problem = str(error)
        return ModelError(self._problem)
