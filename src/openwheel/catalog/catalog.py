"""Looks rows up in the catalogue."""

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property

import msgspec

from openwheel.catalog.rows import Checkpoint, Family, Licence, Service, Verdict
from openwheel.errors import CatalogError


class Catalog(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All rows. Each look-up has a form that raises and, where it may well fail, one that asks.

    Attributes:
        checkpoints: In the order of their file.
        licences: Likewise.
        families: Likewise.
        services: Likewise.
    """

    checkpoints: tuple[Checkpoint, ...]
    licences: tuple[Licence, ...]
    families: tuple[Family, ...]
    services: tuple[Service, ...] = ()

    def find(self, checkpoint_id: str) -> Checkpoint:
        """Return the row of a hub id in any case, or raise `CatalogError` with the ids like it."""
        row = self.get(checkpoint_id)
        if row is None:
            near = _near(checkpoint_id, [row.id for row in self.checkpoints])
            raise CatalogError(f"The catalogue has no checkpoint {checkpoint_id!r}{near}")
        return row

    def get(self, checkpoint_id: str) -> Checkpoint | None:
        """Return the row of a hub id, whatever its case, or None."""
        return self._checkpoints.get(checkpoint_id.lower())

    def licence(self, licence_id: str) -> Licence:
        """Return a licence by its id in any case, or raise `CatalogError` with the ids like it."""
        licence = self._licences.get(licence_id.lower())
        if licence is None:
            near = _near(licence_id, [row.id for row in self.licences])
            raise CatalogError(f"The catalogue has no licence {licence_id!r}{near}")
        return licence

    def licences_of(self, checkpoint: Checkpoint) -> tuple[Licence, ...]:
        """Return every licence that a checkpoint is under: its own, and those it inherits."""
        return tuple(
            self.licence(name) for name in (checkpoint.licence, *checkpoint.further_licences)
        )

    def may_train_others(self, checkpoint: Checkpoint) -> Verdict:
        """Return the worst verdict of a checkpoint's licences on training others by its answers."""
        verdicts = {licence.outputs_may_train for licence in self.licences_of(checkpoint)}
        for worst in ("no", "unknown", "conditional"):
            if worst in verdicts:
                return worst
        return "yes"

    def service(self, host: str, model: str) -> Service | None:
        """Return the service of a host, or else that whose models have such a name, or None."""
        asked = host.lower(), model.lower().rpartition("/")[2]
        for patterns_of, name in zip((_hosts, _models), asked, strict=True):
            for row in self.services:
                if name and any(fnmatchcase(name, pattern) for pattern in patterns_of(row)):
                    return row
        return None

    def family(self, model_type: str) -> Family | None:
        """Return what is known of a ``model_type``, or None."""
        return self._families.get(model_type)

    @cached_property
    def _checkpoints(self) -> Mapping[str, Checkpoint]:
        return {row.id.lower(): row for row in self.checkpoints}

    @cached_property
    def _licences(self) -> Mapping[str, Licence]:
        return {row.id.lower(): row for row in self.licences}

    @cached_property
    def _families(self) -> Mapping[str, Family]:
        return {name: row for row in self.families for name in (row.model_type, *row.aliases)}


def _hosts(service: Service) -> tuple[str, ...]:
    return service.hosts


def _models(service: Service) -> tuple[str, ...]:
    return service.models


def _near(name: str, ids: Iterable[str]) -> str:
    """Return a hint at what may have been meant, to end an error with."""
    by_key = {id_.lower(): id_ for id_ in ids}
    asked = name.lower()
    last = asked.rpartition("/")[2]
    same_end = [key for key in by_key if key.rpartition("/")[2] == last]
    within = [key for key in by_key if last and last in key]
    close = difflib.get_close_matches(asked, by_key, n=3, cutoff=0.6)
    chosen = list(dict.fromkeys([*same_end, *close, *within]))[:3]
    if not chosen:
        return "; `openwheel models` lists all"
    return f"; did you mean {' or '.join(by_key[key] for key in chosen)}?"
