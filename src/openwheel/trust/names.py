"""Telling which checkpoint a model's name stands for, as servers and marketplaces write them."""

import re

from openwheel.catalog import Catalog, Checkpoint

_PARTS = re.compile(r"[a-z]+|\d+(?:\.\d+)*")
# What the same weights are called in another form or for another use.
_FORM = re.compile(
    r"[-_.:](instruct|chat|it|hf|base|free|latest|awq|gptq|gguf|mlx|bnb|fp8|bf16|fp16|int[48]|"
    r"nvfp4|mxfp4|w[48]a(8|16)|[48]bit|q\d(_[a-z0-9]+)*)$"
)


def identify(catalog: Catalog, name: str) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that a model's name may stand for; empty if none is known.

    The hub id itself, whatever its case, is one; else its last part is compared without
    separators (``qwen3:8b``, ``qwen/qwen3-8b`` and ``Qwen/Qwen3-8B`` are one), and if that finds
    none, without what forms of the same weights are called (``-Instruct``, ``-AWQ``, ``:free``).
    """
    exact = catalog.get(name)
    if exact is not None:
        return (exact,)
    last = _last(name)
    shorter = _short(last)
    by_name = [(row, _last(row.id)) for row in catalog.checkpoints]
    looked_for = (
        (_key(last), by_name),
        (_key(shorter), by_name),
        (_key(shorter), [(row, _short(other)) for row, other in by_name]),
    )
    for wanted, names in looked_for:
        found = tuple(row for row, other in names if wanted and _key(other) == wanted)
        if found:
            return found
    return ()


def _key(text: str) -> tuple[str, ...]:
    return tuple(_PARTS.findall(text))


def _last(name: str) -> str:
    return name.lower().rpartition("/")[2]


def _short(text: str) -> str:
    while True:
        shorter = _FORM.sub("", text)
        if shorter == text:
            return text
        text = shorter
