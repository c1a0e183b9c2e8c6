"""Checks and compares codes of countries and the European Union."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from openwheel.errors import SettingError

# Source: ISO 3166-1 alpha-2; the member states as of 2026.
EUROPEAN_UNION = frozenset(
    {
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
        *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    }
)
_CODE = re.compile(r"[A-Z]{2}")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def checked(codes: Iterable[str], setting: str) -> tuple[str, ...]:
    """Check codes and return them; ``UK``, which people write, is ``GB``.

    Raises:
        SettingError: One is not two capital letters.
    """
    members = []
    for code in codes:
        if not _CODE.fullmatch(code):
            raise SettingError(
                f"{setting} must hold country codes of two capital letters (ISO 3166) or EU, "
                f"was {code!r}"
            )
        members.append("GB" if code == "UK" else code)
    return tuple(members)


def overlap(first: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    """Return the places of ``first`` that are in, or hold, a place of ``other``."""
    reached = _with_members(other)
    return tuple(place for place in first if _with_members([place]) & reached)


def within(place: str, places: Iterable[str]) -> bool:
    """Whether a place is one of these, or a member state of the EU where that is one of them."""
    places = set(places)
    return place in places or ("EU" in places and place in EUROPEAN_UNION)


def is_here(url: str) -> bool:
    """Return whether a URL is on this machine: by its host, or because it needs no network."""
    if not url.startswith(("http://", "https://")):
        return True
    host = urlsplit(url).hostname or ""
    return _LOOPBACK.fullmatch(host) is not None


def _with_members(places: Iterable[str]) -> set[str]:
    members = set(places)
    return members | EUROPEAN_UNION if "EU" in members else members
