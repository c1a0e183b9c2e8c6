"""Recognises the checkpoint in a folder of weights by its contents, not by its name.

The configuration's architecture and measures are compared with the catalogue's rows. The licence
and origin in the folder's own files come after, since anybody can write them. No other source is
used, and no weights are hashed, since the catalogue has no hashes.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from openwheel.catalog import Catalog, Checkpoint, Shape
from openwheel.catalog.configs import config_of, shape_of
from openwheel.catalog.weight_headers import read_header
from openwheel.errors import CatalogError

_FRONT = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
_FIELD = re.compile(r"^(license|license_name|base_model):[ \t]*['\"]?([^'\"#\n]+)", re.MULTILINE)
_LIST = re.compile(r"^base_model:[ \t]*\n[ \t]*-[ \t]*['\"]?([^'\"#\n]+)", re.MULTILINE)
_BEGINNING = 4_000
"""Characters of a licence's text and of a card that are looked at."""

_MEASURES = ("layers", "hidden", "heads", "kv_heads", "head_dim")
_KEYS = (
    "general.license", "general.license.name", "general.base_model.0.repo_url",
    "general.source.url", "general.repo_url", "license", "base_model",
)  # fmt: skip
"""Metadata of GGUF and safetensors that says what weights are of and under."""


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoints that a folder of weights was recognised as.

    Attributes:
        rows: The checkpoints that it may be, or be made of; all their licences apply.
        licence: If it is no checkpoint of the catalogue, the licence that its files name.
        told_by: The source of that.
        hint: Without a source: the usual licences of its architecture.
    """

    rows: tuple[Checkpoint, ...] = ()
    licence: str = ""
    told_by: Literal["configuration", "files", "nothing"] = "nothing"
    hint: str = ""


def recognise(path: Path, catalog: Catalog) -> Folder:
    """Recognise the checkpoint of a folder or a GGUF file by its own contents."""
    try:
        config = config_of(path)
    except CatalogError:  # no checkpoint: loading it will report that
        config = {}
    texts = [*_said(path)]
    rows = _alike(config, catalog)
    named = tuple(row for text in texts if (row := catalog.get(_hub_id(text))) is not None)
    licences = [licence for text in texts if (licence := _licence(text, catalog))]
    if rows:
        return Folder(rows=_chosen(rows, named, licences), told_by="configuration")
    if named:
        return Folder(rows=tuple(dict.fromkeys(named)), told_by="files")
    if licences:
        return Folder(licence=licences[0], told_by="files")
    return Folder(hint=_hint(str(config.get("model_type", "")), catalog))


def _alike(config: Mapping[str, Any], catalog: Catalog) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of a configuration's architecture and measures."""
    shape, model_type = shape_of(config), str(config.get("model_type", ""))
    if shape is None:
        return ()
    return tuple(
        row
        for row in catalog.checkpoints
        if row.shape is not None
        and _same_type(row.model_type, model_type, catalog)
        and _same_measures(row.shape, shape)
    )


def _same_type(first: str, other: str, catalog: Catalog) -> bool:
    family = catalog.family(first)
    return first == other or (family is not None and family == catalog.family(other))


def _same_measures(first: Shape, other: Shape) -> bool:
    """Whether shapes are alike; the vocabulary aside, which fine-tuning may change."""
    if first.intermediate and other.intermediate and first.intermediate != other.intermediate:
        return False
    return all(getattr(first, name) == getattr(other, name) for name in _MEASURES)


def _chosen(
    rows: tuple[Checkpoint, ...], named: tuple[Checkpoint, ...], licences: list[str]
) -> tuple[Checkpoint, ...]:
    """Return those of similar checkpoints that the files name, or all of them."""
    return (
        tuple(row for row in rows if row in named)
        or tuple(row for row in rows if row.licence in licences)
        or rows
    )


def _said(path: Path) -> Iterator[str]:
    """Yield the checkpoints and licences that a folder's files name."""
    folder = path if path.is_dir() else path.parent
    for file in [path] if path.suffix == ".gguf" else sorted(path.glob("*.safetensors"))[:1]:
        try:
            metadata = read_header(file).metadata
        except CatalogError:
            continue
        yield from (str(metadata[key]) for key in _KEYS if key in metadata)
    front = _FRONT.match(_beginning(folder / "README.md"))
    if front:
        yield from (value.strip() for _, value in _FIELD.findall(front[1]))
        yield from (value.strip() for value in _LIST.findall(front[1]))
    for file in sorted([*folder.glob("LICEN[CS]E*"), *folder.glob("NOTICE*")]):
        text = _beginning(file)
        if "Apache License" in text and "Version 2.0" in text:
            yield "Apache-2.0"
        elif "Permission is hereby granted, free of charge" in text:
            yield "MIT"
        else:
            yield " ".join(text.split())


def _beginning(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_BEGINNING)
    except OSError:
        return ""


def _hub_id(text: str) -> str:
    return text.removeprefix("https://huggingface.co/").rstrip("/")


def _licence(text: str, catalog: Catalog) -> str:
    """Return the licence of the catalogue that a tag (``gemma``) or a licence's text names."""
    tag = _plain(text)
    for licence in catalog.licences:
        if tag == _plain(licence.id) or (len(text) > 40 and licence.name in text):
            return licence.id
    return ""


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower().removeprefix("licenseref-"))


def _hint(model_type: str, catalog: Catalog) -> str:
    """Say under which licences the catalogue's checkpoints of an architecture are."""
    rows = [row for row in catalog.checkpoints if _same_type(row.model_type, model_type, catalog)]
    licences = ", ".join(dict.fromkeys(row.licence for row in rows))
    return f"; other weights of its architecture {model_type} are under {licences}" if rows else ""
