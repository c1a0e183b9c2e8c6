"""Says what the place of a store is: a file, or the URL of a database."""

import re
from pathlib import Path


def is_url(place: Path | str) -> bool:
    """Return whether a store's place is the URL of a database, and no file.

    >>> is_url("postgresql://fleet@db.example/openwheel"), is_url("openwheel.db")
    (True, False)
    """
    return str(place).startswith(("postgresql:", "postgres:"))


def may_exist(place: Path | str) -> bool:
    """Return whether a store may be at a place: of a URL only opening it tells."""
    return is_url(place) or Path(place).exists()


def shown_place(place: Path | str) -> str:
    """Return a store's place for messages: a URL without its password.

    >>> shown_place("postgresql://fleet:secret@db.example/openwheel")
    'postgresql://fleet:***@db.example/openwheel'
    """
    return re.sub(r"(?<=://)([^:@/]*):[^@/]*@", r"\1:***@", str(place))
