"""Repeats a look in a thread, beside work that may take minutes."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from openwheel.errors import OpenwheelError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def in_background(
    look: Callable[[Callable[[], bool]], None], *, name: str, every: float, failed: str
) -> Iterator[None]:
    """Take looks in a thread until the block ends; one that fails is logged with a message.

    A look can ask whether the block has ended.
    """
    over = threading.Event()

    def run() -> None:
        problem = ""
        while not over.wait(every):
            try:
                look(over.is_set)
            except (OpenwheelError, MemoryError) as error:
                message = str(error) or "the turn has taken all memory that both may take"
                if message != problem:  # once, not twice a second
                    problem = message
                    logger.error("%s: %s", failed, message)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
