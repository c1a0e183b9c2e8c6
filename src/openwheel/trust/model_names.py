"""Identifies checkpoints by the names that servers and marketplaces give to models."""

import re
from collections.abc import Mapping

import msgspec

from openwheel.catalog import Catalog, Checkpoint

Key = tuple[str, ...]
LONGEST = 300
"""Characters of a name that are looked at."""

_PARTS = re.compile(r"[a-z]+|\d+(?:\.\d+)*")
# Suffixes of the same weights in another form or for another use.
_FORM = re.compile(
    r"[-_.:](instruct|chat|it|hf|base|free|latest|awq|gptq|gguf|mlx|bnb|fp8|bf16|fp16|int[48]|"
    r"nvfp4|mxfp4|w[48]a(8|16)|[48]bit|q\d(_[a-z0-9]+)*)$"
)


class Names(msgspec.Struct, frozen=True):
    """The names of a catalogue's checkpoints, laid out to be looked up.

    Attributes:
        catalog: The catalogue.
        full: Checkpoints by the parts of their names.
        short: Likewise, without the suffixes for forms of the same weights.
    """

    catalog: Catalog
    full: Mapping[Key, tuple[Checkpoint, ...]]
    short: Mapping[Key, tuple[Checkpoint, ...]]

    @classmethod
    def of(cls, catalog: Catalog) -> "Names":
        """Return a catalogue's names."""
        full: dict[Key, tuple[Checkpoint, ...]] = {}
        short: dict[Key, tuple[Checkpoint, ...]] = {}
        for row in catalog.checkpoints:
            name = _last(row.id)
            full[_key(name)] = (*full.get(_key(name), ()), row)
            key = _key(_shortened(name))
            short[key] = (*short.get(key, ()), row)
        return cls(catalog, full, short)

    def identify(self, name: str) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that a model's name may stand for; empty if none is known.

        A hub id, in any case of letters, is itself one. Otherwise its last part is compared without
        separators (``qwen3:8b`` is ``Qwen/Qwen3-8B``), and if that finds none, without the suffixes
        for forms of the same weights (``-Instruct``, ``-AWQ``, ``:free``).
        """
        exact = self.catalog.get(name)
        if exact is not None:
            return (exact,)
        last = _last(name[:LONGEST])
        shorter = _key(_shortened(last))
        if not shorter:
            return ()
        return self.full.get(_key(last)) or self.full.get(shorter) or self.short.get(shorter, ())


def _key(text: str) -> Key:
    return tuple(_PARTS.findall(text))


def _last(name: str) -> str:
    return name.lower().rpartition("/")[2]


def _shortened(text: str) -> str:
    while True:
        shorter = _FORM.sub("", text)
        if shorter == text:
            return text
        text = shorter
