"""Auditing while a turn trains: a turn may take minutes, an alarm is to be heard in seconds."""

import contextlib
from collections.abc import Callable, Iterator

from openwheel.loop.audit.step import audit
from openwheel.loop.learner.background import in_background
from openwheel.loop.records import Event
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.store import Store


@contextlib.contextmanager
def auditing_in_background(
    store: Store,
    settings: LoopSettings,
    *,
    tell: Callable[[list[Event]], None],
    resources: Resources = NO_RESOURCES,
    after: int = 0,
    every: float = 0.5,
) -> Iterator[None]:
    """Look at new audits in a thread until the block ends.

    A look that meets one of the turn's gives way: what both would write, the first one writes.

    Args:
        store: The traffic.
        settings: What the user decides.
        tell: Given what looks did, from the thread.
        resources: What comparisons need from outside.
        after: Exchanges up to this one are assigned to their tasks.
        every: Seconds between looks.
    """
    registry, assigned = Registry(store), after

    def look(_: Callable[[], bool]) -> None:
        nonlocal assigned
        if store.last_seq() > assigned:
            assigned = assign_new(store, registry, after=assigned)
            tell(audit(store, registry, settings, resources, until=assigned))

    failed = "Audits could not be looked at during a turn"
    with in_background(look, name="openwheel-audit", every=every, failed=failed):
        yield
