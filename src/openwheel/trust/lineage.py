"""Defines the lineage: what a student was made of, in a form that machines read."""

import hashlib
from collections.abc import Iterator
from typing import Literal

import msgspec

from openwheel.trust.decision import Condition, Decision

SCHEMA = 1
"""Version of the lineage's fields."""


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint that a student is built on.

    Attributes:
        id: Its hub id or folder.
        kind: ``encoder``: its vectors are read, its weights stay as they are, or were tuned.
            ``lm``: the student is an adapter on it.
        revision: The commit it was pinned to, ``""`` for a folder.
        fingerprint: Hash of its weights and settings, if one is kept.
        licences: Ids of the licences that apply, none if unknown.
        tuned: Whether its own weights were changed.
    """

    id: str
    kind: str
    revision: str = ""
    fingerprint: str = ""
    licences: tuple[str, ...] = ()
    tuned: bool = False


class TaughtBy(msgspec.Struct, frozen=True, kw_only=True):
    """A teacher's model whose answers trained a student.

    Attributes:
        teacher: Name of the endpoint, ``""`` for a log that was imported.
        model: As the endpoint named it.
        exchanges: How many of its answers.
        checkpoint: Its hub id, ``""`` if unknown.
        licences: Ids of the licences its answers are under, none if unknown.
        told_by: The source of that: ``settings``, the model's ``name``, a folder's
            ``configuration``, or ``nothing``.
        training: The setting for its answers, None if there is none.
        terms: Its terms in the operator's words.
        jurisdiction: Where it is, by the operator's settings.
    """

    teacher: str
    model: str
    exchanges: int
    checkpoint: str = ""
    licences: tuple[str, ...] = ()
    told_by: str = "nothing"
    training: Literal["allowed", "forbidden"] | None = None
    terms: str = ""
    jurisdiction: str = ""


class LeftOut(msgspec.Struct, frozen=True):
    """Answers that the policy kept out of training: whose, how many, and why."""

    teacher: str
    model: str
    exchanges: int
    reason: str


class DataWindow(msgspec.Struct, frozen=True):
    """The exchanges that trained a student.

    ``sha256`` is as in the certificate: over a line for each exchange in order.
    """

    exchanges: int
    first_seq: int
    last_seq: int
    first_time: float
    last_time: float
    sha256: str


class Certified(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate, in short."""

    id: str
    statement: str
    epsilon: float
    delta: float
    coverage: float
    bound: float
    threshold: float
    calibration_sha256: str
    created: str


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What a student was made of.

    Attributes:
        schema: Version of these fields.
        student, task, task_name, rung: The student it describes.
        created: When it was trained; ISO 8601, UTC.
        base: The checkpoint it is built on; None where there is none, as for ``exact``.
        taught_by: The teachers whose answers trained it, most first.
        left_out: The teachers whose answers the policy kept out.
        training: The window of its training exchanges.
        decisions: The policy's decisions when it was trained.
        overrides: Written permissions that it rests on, by licence or checkpoint.
        conditions: The licences' conditions for those who use it or pass it on.
        certificates: Its certificates, oldest first.
        files: sha256 of each of its files.
        versions: Of Openwheel and of the libraries that trained it.
        complete: Whether all of this was kept when it was trained. False for students from before
            there were lineages.
    """

    schema: int = SCHEMA
    student: str
    task: str
    task_name: str = ""
    rung: str
    created: str = ""
    base: Base | None = None
    taught_by: tuple[TaughtBy, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    training: DataWindow | None = None
    decisions: tuple[Decision, ...] = ()
    overrides: dict[str, str] = {}
    conditions: tuple[Condition, ...] = ()
    certificates: tuple[Certified, ...] = ()
    files: dict[str, str] = {}
    versions: dict[str, str] = {}
    complete: bool = True

    def digest(self) -> str:
        """Return the sha256 of all fields but those that come after the training."""
        bare = msgspec.structs.replace(self, certificates=(), files={}, task_name="")
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def licence_summary(lineage: Lineage) -> tuple[str, ...]:
    """Return a line with the licences of each checkpoint and each teacher's model."""
    return tuple(_lines(lineage))


def _lines(lineage: Lineage) -> Iterator[str]:
    if lineage.base is not None:
        yield f"base {lineage.base.id}: {_licences(lineage.base.licences)}"
    for taught in lineage.taught_by:
        source = " ".join(filter(None, [taught.teacher or "log", taught.model]))
        yield f"teacher {source}: {_licences(taught.licences)}, {taught.exchanges:,} exchanges"
    for name, written in lineage.overrides.items():
        yield f"override {name}: {written}"


def _licences(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "licence not known"
