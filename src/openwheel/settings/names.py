"""What teachers are called, and what they cost by that name."""

from collections.abc import Sequence

from openwheel.errors import SettingError
from openwheel.settings.table import TeacherSection

REPLAY = "replay:"
"""How the URL of a recording begins."""

LOCAL = "local:"
"""How the URL of a model begins that is run on this machine."""


def teacher_names(sections: Sequence[TeacherSection]) -> list[str]:
    """Return a name for each teacher: its own, or its host, told apart by a number if need be.

    Raises:
        SettingError: Two were given one name.
    """
    names: list[str] = []
    for section in sections:
        name = section.name or _host(section.url)
        if section.name and section.name in names:
            raise SettingError(f"Two teachers have the name {name!r}; a name must be one's own")
        same, number = name, 1
        while name in names:
            number += 1
            name = f"{same}-{number}"
        names.append(name)
    return names


def teacher_prices(sections: Sequence[TeacherSection]) -> dict[str, tuple[float, float]]:
    """Return what a million tokens cost, read and written, in dollars, by the teacher's name."""
    return {
        name: (section.price_input, section.price_output)
        for section, name in zip(sections, teacher_names(sections), strict=True)
    }


def _host(url: str) -> str:
    if url.startswith(REPLAY):
        return "recording"
    if url.startswith(LOCAL):
        return "local"
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]
