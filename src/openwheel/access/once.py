"""Remembers that there once were keys, even if the store that held them is gone."""

import logging
import os
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

PREFIX: Final = ".keyed-"
_TEXT: Final = b"""\
Openwheel had keys here, so its gateway refuses requests without one, also where the store is lost.
To have it ask for none, set require_keys = false under [access] in openwheel.toml.
"""


class OnceKeyed:
    """A note that keys were made, beside the store and beside the workers' shared file.

    It is in two places, since losing the store may lose the files beside it, as when a folder is
    not mounted any more. Its name does not begin as the store's does, so deleting
    ``openwheel.db*`` does not open the gateway. The store itself notes it too, for machines that
    see it for the first time.

    Args:
        beside: The note beside the store.
        shared: A file that the workers share.
        in_store: Whether the store knows that there were keys.

    Attributes:
        keyed: Whether there were keys.
    """

    def __init__(self, beside: Path, shared: Path, *, in_store: bool) -> None:
        self._paths = (beside, shared.with_name(f"{PREFIX}{shared.name}"))
        self._noted = False
        self._in_store = in_store
        self.keyed = in_store or any(path.exists() for path in self._paths)

    @property
    def way_out(self) -> str:
        """The advice for an operator who wants no keys."""
        noted = [str(path) for path in self._paths if path.exists()]
        if self._in_store:
            noted.append("the row of the table once_keyed in the store")
        return (
            "To ask for none, set require_keys = false under [access] in openwheel.toml, or delete "
            + " and ".join(noted)
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
