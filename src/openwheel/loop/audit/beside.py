"""Auditing while a turn trains: a turn may take minutes, an alarm is to be heard in seconds."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from openwheel.errors import OpenwheelError
from openwheel.loop.audit.look import audit
from openwheel.loop.curate import assign_new
from openwheel.loop.records import Event
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.tools import NO_TOOLS, Tools
from openwheel.traffic import Store

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def auditing_beside(
    store: Store,
    settings: LoopSettings,
    *,
    tell: Callable[[list[Event]], None],
    tools: Tools = NO_TOOLS,
    after: int = 0,
    every: float = 0.5,
) -> Iterator[None]:
    """Look at new audits in a thread until the block ends.

    A look that meets one of the turn's gives way: what both would write, the first one writes.

    Args:
        store: The traffic.
        settings: What the user decides.
        tell: Given what looks did, from the thread.
        tools: What comparisons need from outside.
        after: Exchanges up to this one are assigned to their tasks.
        every: Seconds between looks.
    """
    over = threading.Event()
    registry = Registry(store)

    def run() -> None:
        assigned, problem = after, ""
        while not over.wait(every):
            try:
                if store.last_seq() > assigned:
                    assigned = assign_new(store, registry, after=assigned)
                    tell(audit(store, registry, settings, tools, until=assigned))
            except (OpenwheelError, MemoryError) as error:
                said = str(error) or "the turn has taken all memory that both may take"
                if said != problem:  # once, not twice a second
                    problem = said
                    logger.error("Audits could not be looked at during a turn: %s", said)

    thread = threading.Thread(target=run, name="openwheel-audit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
