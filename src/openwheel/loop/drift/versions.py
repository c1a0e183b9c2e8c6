"""Decides what counts as a change of the teacher: pure functions, no I/O."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["model", "fingerprint", "disagreement"]

FEWEST_EACH = 200
"""The fewest exchanges of evidence for each fingerprint in it. With fewer, fingerprints are
ignored: they would change more often than a student could be certified again."""

ALWAYS_FEW = 3
"""Up to this many fingerprints always count as few."""

_TAG = re.compile(r"(-\d|@|:).*")


class Version(NamedTuple):
    """A version of a teacher: an endpoint, the model as it named it, and the system that ran it.

    Unknown fields are ``""``. A log names no endpoint.
    """

    teacher: str
    model: str
    fingerprint: str = ""

    def __str__(self) -> str:
        at = f" at {self.teacher}" if self.teacher else ""
        system = f" ({self.fingerprint})" if self.fingerprint else ""
        return f"{self.model or 'a model without a name'}{at}{system}"


class Sighting(msgspec.Struct, frozen=True):
    """A version of a task's teacher, and where it was seen first.

    Attributes:
        version: The version.
        live: Whether it answered here; else it is from a log.
        asked: The model that was asked for, as settings have it; ``""`` if unknown.
        seq, id, time: Of its first exchange.
    """

    version: Version
    live: bool
    seq: int
    id: str
    time: float
    asked: str = ""


def changes(
    sightings: Iterable[Sighting], *, until: int, evidence: int
) -> list[tuple[Kind, Sighting]]:
    """Return the versions that are new to a certificate, in the order in which they came.

    A field that the evidence does not have is not new when it is first reported: a store from
    before fingerprints were kept, a log that names no endpoint, a server that names no model. A
    log that is imported later changes nothing either.

    Args:
        sightings: Every version of the task, with where it was seen first.
        until: Versions up to this exchange are known.
        evidence: Number of exchanges in the certificate's evidence.

    Examples:
        >>> def seen(seq, *version):
        ...     return Sighting(Version(*version), True, seq, f"e{seq}", 0.0)
        >>> known = [seen(1, "gpu", "big-1", "fp_a")]
        >>> later = [seen(900, "gpu", "big-1", "fp_b"), seen(950, "gpu", "big-2", "fp_c")]
        >>> [kind for kind, _ in changes(known + later, until=800, evidence=800)]
        ['fingerprint', 'model']
    """
    ordered = sorted(sightings, key=lambda sighting: sighting.seq)
    earlier = [sighting.version for sighting in ordered if sighting.seq <= until]
    most = max(ALWAYS_FEW, evidence // FEWEST_EACH)
    changed = []
    for sighting in ordered:
        if sighting.seq <= until:
            continue
        if sighting.live and (kind := _news(earlier, sighting.version, most)):
            changed.append((kind, sighting))
        earlier.append(sighting.version)
    return changed


def _news(earlier: Sequence[Version], new: Version, most: int) -> Kind | None:
    if not new.model:
        return None  # it does not say who it is
    named = [version for version in earlier if version.model]
    same = [
        version for version in named if (version.teacher, version.model) == (new.teacher, new.model)
    ]
    if not same:
        return None if _was_not_told(earlier, new) else "model"
    systems = {version.fingerprint for version in same} - {""}
    if not new.fingerprint or new.fingerprint in systems or not systems:
        return None
    return None if len(systems) > most else "fingerprint"


def _was_not_told(earlier: Sequence[Version], new: Version) -> bool:
    """Whether a model is only named more exactly than before."""
    named = [version for version in earlier if version.model]
    of_teacher = [version.model for version in earlier if version.teacher == new.teacher]
    if not named or (of_teacher and not any(of_teacher)):
        return True
    if not new.teacher:  # the endpoint is unknown, the model is known
        return any(version.model == new.model for version in named)
    if any(version.teacher for version in named):
        return False
    # The evidence is all of logs, which may have the name that was asked for.
    return any(_same_but_for_tag(version.model, new.model) for version in named)


def _same_but_for_tag(first: str, second: str) -> bool:
    """Whether two names are equal, or one says a date or tag that the other leaves out.

    >>> _same_but_for_tag("gpt-x", "gpt-x-2026-01-05"), _same_but_for_tag("gpt-x", "gpt-x-mini")
    (True, False)
    """
    short, long = sorted((first, second), key=len)
    return long.startswith(short) and (
        len(long) == len(short) or _TAG.fullmatch(long[len(short) :]) is not None
    )
