"""What a table of the settings file is."""

from typing import Annotated

import msgspec
from msgspec import Meta


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of ``openwheel.toml``."""


Share = Annotated[float, Meta(ge=0, le=1)]
