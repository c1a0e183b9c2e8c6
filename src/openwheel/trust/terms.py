"""What a model's answers or a checkpoint are under, as far as it can be told."""

from typing import Literal

import msgspec

from openwheel.catalog import Licence

UNKNOWN = "LicenseRef-unknown"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's answers or a checkpoint are under.

    Attributes:
        subject: In words, e.g. ``teacher gpu (Qwen/Qwen3-8B)``.
        role: Whether answers of it are learned from, or it is itself trained or built on.
        checkpoint: Its hub id, ``""`` if that is not known.
        licences: All that apply; none if it is not known.
        told_by: What tells it: the operator's settings, the model's name, a folder's configuration
            or its files, or nothing.
        hint: Where nothing tells it: what is known beside.
        training: What the operator says of its answers.
        terms: Its terms in the operator's words.
        jurisdiction: Where it is, by the operator's word.
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
    """Return what is known of a licence that only the operator's settings name: its id."""
    return Licence(id=licence, name=licence, confidence="?", source="openwheel.toml")
