"""Reads the catalogue's files: those that come with Openwheel, and the user's own."""

from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from openwheel.catalog.catalog import Catalog
from openwheel.catalog.row_errors import explain
from openwheel.catalog.rows import Checkpoint, Family, Licence, Service
from openwheel.errors import CatalogError
from openwheel.settings import read_toml

_OWN = ("licences.toml", "families.toml", "checkpoints.toml", "services.toml")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one file may hold."""

    checkpoint: tuple[Checkpoint, ...] = ()
    licence: tuple[Licence, ...] = ()
    family: tuple[Family, ...] = ()
    service: tuple[Service, ...] = ()


def load_catalog(extra: Sequence[Path] = ()) -> Catalog:
    """Return the catalogue.

    Args:
        extra: The user's own files. A row in one takes the place of an earlier row of the same
            id; within a file an id may stand once.

    Raises:
        CatalogError: A file cannot be read or is no TOML; a row is not what it must be, names a
            licence or a family that is nowhere, or stands twice. The message names file, row
            and field.
    """
    folder = files("openwheel.catalog") / "data"
    read = [_read(folder / name, name) for name in _OWN]
    read += [_read(path, str(path)) for path in extra]
    catalog = Catalog(
        checkpoints=tuple(
            {row.id.lower(): row for part in read for row in part.checkpoint}.values()
        ),
        licences=tuple({row.id.lower(): row for part in read for row in part.licence}.values()),
        families=tuple({row.model_type: row for part in read for row in part.family}.values()),
        services=tuple({row.id.lower(): row for part in read for row in part.service}.values()),
    )
    names = [*_OWN, *(str(path) for path in extra)]
    for name, part in zip(names, read, strict=True):
        _check_references(name, part, catalog)
    return catalog


def _read(path: Traversable, name: str) -> _File:
    values = read_toml(path, name, "catalogue", CatalogError)
    try:
        content = msgspec.convert(values, _File)
    except msgspec.ValidationError as error:
        raise CatalogError(explain(name, str(error), values)) from None
    _check_names(name, content)
    return content


def _check_names(name: str, content: _File) -> None:
    """Refuse a file that has two rows of one name."""
    kinds = {
        "checkpoint": [row.id.lower() for row in content.checkpoint],
        "licence": [row.id.lower() for row in content.licence],
        "service": [row.id.lower() for row in content.service],
        "family": [key for row in content.family for key in (row.model_type, *row.aliases)],
    }
    for kind, keys in kinds.items():
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise CatalogError(f"{name}: {kind} {twice[0]!r} must have one row, and has several")


def _check_references(name: str, content: _File, catalog: Catalog) -> None:
    for row in content.checkpoint:
        for licence in (row.licence, *row.further_licences):
            try:
                catalog.licence(licence)
            except CatalogError as error:
                raise CatalogError(f"{name}: checkpoint {row.id!r}: {error}") from None
        if catalog.family(row.model_type) is None:
            raise CatalogError(
                f"{name}: checkpoint {row.id!r}: model_type must have a [[family]] row, "
                f"was {row.model_type!r}"
            )
        total, active = row.total_parameters, row.active_parameters
        if total is not None and active is not None and active > total:
            raise CatalogError(
                f"{name}: checkpoint {row.id!r}: active_parameters must be at most "
                f"total_parameters ({total:g}), was {active:g}"
            )
    for service in content.service:
        try:
            catalog.licence(service.licence)
        except CatalogError as error:
            raise CatalogError(f"{name}: service {service.id!r}: {error}") from None
    for family in content.family:
        if not family.native and not family.reason:
            raise CatalogError(
                f"{name}: family {family.model_type!r}: a family without a native class must "
                "say the reason, and has none"
            )
        if family.loads_as and catalog.family(family.loads_as) is None:
            raise CatalogError(
                f"{name}: family {family.model_type!r}: loads_as must be another family's "
                f"model_type, was {family.loads_as!r}"
            )
