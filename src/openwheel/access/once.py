"""That there once were keys, known also where the store that held them is gone."""

import logging
import os
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_TEXT: Final = b"""\
Openwheel had keys here, so its gateway refuses requests without one, also where the store is lost.
To have it ask for none, set require_keys = false under [access] in openwheel.toml.
"""


class OnceKeyed:
    """A note, beside the store and beside what the workers share, that keys were made.

    In two places, since what loses the store may lose what is beside it: a folder that is not
    mounted any more, say. Its name does not begin as the store's does, so that who deletes
    ``openwheel.db*`` does not open the gateway.

    Args:
        store: The store's file.
        shared: A file that the workers share.

    Attributes:
        keyed: Whether there were keys, as far as is known.
    """

    def __init__(self, store: Path, shared: Path) -> None:
        self._paths = (
            store.with_name(f".keyed-{store.name}"),
            shared.with_name(f".keyed-{shared.name}"),
        )
        self._noted = False
        self.keyed = any(path.exists() for path in self._paths)

    @property
    def way_out(self) -> str:
        """What an operator can do who wants no keys."""
        return (
            "To ask for none, set require_keys = false under [access] in openwheel.toml, or delete "
            + " and ".join(str(path) for path in self._paths if path.exists())
        )

    def note(self) -> None:
        """Note that there are keys; a note that cannot be written is logged."""
        self.keyed = True
        if self._noted:
            return
        self._noted = True
        for path in self._paths:
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_TEXT)
            except FileExistsError:
                pass
            except OSError as error:
                logger.warning("That there are keys cannot be noted at %s: %s", path, error)
