"""Serves the students of the bundle in use, as long as the upstream is heard."""

import threading
from collections.abc import Mapping

from openwheel.edge.shelf import Opened
from openwheel.loop.resources import Resources
from openwheel.loop.serving import Decision, Pending, RegistryServing
from openwheel.wire import Request


class EdgeServing:
    """Serves the students of the bundle in use; see `Serving`.

    None answers once the upstream was unheard for too long.
    """

    def __init__(self, opened: Opened, edge: str, resources: Resources) -> None:
        self._resources = resources
        self._edge = edge
        self._registry_serving = RegistryServing(opened.registry, resources)
        # The gateway looks too: one that began to read before a demotion must not end after it.
        self._lock = threading.Lock()
        self.unheard = False

    def swap(self, opened: Opened) -> None:
        """Serve another bundle from now on."""
        with self._lock:
            self._registry_serving = RegistryServing(opened.registry, self._resources)

    def named(self, edge: str) -> None:
        """Note the name that this edge has upstream, by which students may leave its requests."""
        self._edge = edge

    def refresh(self) -> bool:
        """See `Serving.refresh`."""
        with self._lock:
            return self._registry_serving.refresh()

    def students(self) -> Mapping[str, str]:
        """Return the student that answers each task, by the task's name."""
        return {} if self.unheard else self._registry_serving.students()

    def broken(self) -> Mapping[str, str]:
        """Return why students cannot be used, by the name of their task."""
        return self._registry_serving.broken()

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision | Pending:  # noqa: ARG002
        """See `Serving.decide`; upstream the key of every client here is that of the edge."""
        if self.unheard:
            return Decision(reason="unheard")
        return self._registry_serving.decide(request, task, self._edge)
