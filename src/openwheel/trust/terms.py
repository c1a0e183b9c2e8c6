"""Holds the terms of a model's answers or a checkpoint."""

from typing import Literal

import msgspec

from openwheel.catalog import Licence

UNKNOWN = "LicenseRef-unknown"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a model's answers or a checkpoint.

    Attributes:
        subject: In words, e.g. ``teacher gpu (Qwen/Qwen3-8B)``.
        role: Whether answers of it are learned from, or it is itself trained or built on.
        checkpoint: Its hub id, ``""`` if unknown.
        licences: All that apply; none if unknown.
        told_by: The source of that: the operator's settings, the model's name, a folder's
            configuration or its files, or nothing.
        hint: Without a source: other facts about it.
        training: The operator's setting for its answers.
        terms: Its terms in the operator's words.
        jurisdiction: Where it is, by the operator's settings.
    """

    subject: str
    role: Literal["teacher", "base"]
    checkpoint: str = ""
    licences: tuple[Licence, ...] = ()
    told_by: Literal["settings", "name", "configuration", "files", "nothing"] = "nothing"
    hint: str = ""
    training: Literal["allowed", "forbidden"] | None = None
    terms: str = ""
    jurisdiction: str = ""

    @property
    def named(self) -> str:
        """A checkpoint as it was named: a folder or an id."""
        return self.subject.removeprefix("checkpoint ")

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the licences."""
        return tuple(licence.id for licence in self.licences)


def stated(licence: str) -> Licence:
    """Return a licence that only the operator's settings name; only its id is known."""
    return Licence(id=licence, name=licence, confidence="?", source="openwheel.toml")
