"""What a model remembers of the texts it is working on, with texts joining and leaving a batch.

A batch keeps its texts aligned at their ends: a shorter one has columns before it that the
attention mask hides. Layers are those of transformers; how each is joined, cut and copied
depends on its class, and a layer of any other class is left alone (see `kind_of`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
)

CacheKind = Literal["full", "state", "own"]
"""Whether all layers keep every token (``full``), some keep a state or a window (``state``), or
some are of a class that is not known here (``own``)."""

_SPARE = 1.25
_STATES = (LinearAttentionLayer, LinearAttentionAndFullAttentionLayer)


class RoomyLayer(DynamicLayer):
    """A layer of full attention with room for what is to come.

    The plain one copies all it has for every token; this one only when its room is used up.
    """

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self.keys: Any = None
        self.values: Any = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values, and return all there are; see `DynamicLayer.update`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        have = self.get_seq_length()
        need = have + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < need:
            size = int(_SPARE * need) + 32
            self._room = (
                _grown(self.keys if have else None, key_states, size),
                _grown(self.values if have else None, value_states, size),
            )
        keys, values = self._room
        keys[:, :, have:need] = key_states
        values[:, :, have:need] = value_states
        self.keys, self.values = keys[:, :, :need], values[:, :, :need]
        return self.keys, self.values

    def put(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold other keys and values instead."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._room = None


def new_cache(config: Any) -> Any:
    """Return an empty cache for a model of this configuration."""
    cache = DynamicCache(config=config)
    cache.layers = [
        RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    if not cache.layers:  # grows by itself, a layer at a time
        cache.layer_class_to_replicate = RoomyLayer
    return cache


def kind_of(config: Any, cache: Any) -> CacheKind:
    """Return what can be done with the cache that a model of this configuration made."""
    if type(cache) is not DynamicCache:
        return "own"
    planned = {type(layer) for layer in DynamicCache(config=config).layers}
    kinds = {type(layer) for layer in cache.layers}
    if kinds != (planned or {DynamicLayer}):
        return "own"
    if kinds <= {DynamicLayer, DummyLayer}:
        return "full"
    known = {DynamicLayer, DummyLayer, DynamicSlidingWindowLayer, *_STATES}
    return "state" if kinds <= known else "own"


def bytes_of(cache: Any) -> int:
    """Return the bytes of a cache's tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(cache))


def head_of(
    config: Any, cache: Any, row: int, first: int, tokens: int, *, copied: bool = False
) -> Any:
    """Return what is remembered of a text's first tokens, out of a batch.

    Only for caches of kind ``full``, or where the text is all there is and has this length. What
    is done with the one changes nothing in the other.

    Args:
        config: The model's configuration.
        cache: The batch's.
        row: The text's row.
        first: The column of its first token.
        tokens: How many of them.
        copied: Whether it must not keep the batch's memory from being freed.
    """
    copy = new_cache(config)
    for at, layer in enumerate(cache.layers):
        if at == len(copy.layers):
            copy.layers.append(type(layer)())
        target = copy.layers[at]
        if isinstance(layer, LinearAttentionLayer):
            _copy_states(layer, target, row)
        if isinstance(layer, RoomyLayer):
            if layer.get_seq_length():
                cut = (slice(row, row + 1), slice(None), slice(first, first + tokens))
                _put(target, *_taken(layer, cut, copied=copied))
        elif isinstance(layer, DynamicLayer) and layer.is_initialized:
            _put(target, *_taken(layer, (slice(row, row + 1),), copied=copied))
            if isinstance(layer, DynamicSlidingWindowLayer):
                target.cumulative_length = layer.cumulative_length
    return copy


def join(config: Any, caches: Sequence[Any], lengths: Sequence[int]) -> Any:
    """Return several caches as one of a batch, their ends aligned; they are used up.

    Args:
        config: The model's configuration.
        caches: Each of one or more rows.
        lengths: Columns of each.
    """
    if len(caches) == 1:
        return caches[0]
    joined = new_cache(config)
    longest = max(lengths)
    for at in range(len(caches[0].layers)):
        layers = [cache.layers[at] for cache in caches]
        if at == len(joined.layers):
            joined.layers.append(type(layers[0])())
        target = joined.layers[at]
        if isinstance(target, LinearAttentionLayer):
            _join_states(layers, target)
        if isinstance(target, DynamicLayer) and any(layer.is_initialized for layer in layers):
            sliding = isinstance(target, DynamicSlidingWindowLayer)
            width = min(longest, target.sliding_window - 1) if sliding else longest
            _put(
                target,
                torch.cat([_wide(layer.keys, width) for layer in layers]),
                torch.cat([_wide(layer.values, width) for layer in layers]),
            )
            if sliding:
                target.cumulative_length = longest
    return joined


def keep(cache: Any, rows: Sequence[int], columns: int) -> None:
    """Keep some texts of a batch, and only its last columns.

    Args:
        cache: The batch's.
        rows: Which texts stay, in order.
        columns: How many columns are left: the longest text among them.
    """
    chosen: torch.Tensor | None = None
    for layer in cache.layers:
        device = layer.device if getattr(layer, "device", None) is not None else None
        if device is None:
            continue
        if chosen is None or chosen.device != device:
            chosen = torch.tensor(rows, device=device)
        if isinstance(layer, LinearAttentionLayer):
            _select_states(layer, chosen)
        if isinstance(layer, DynamicLayer) and layer.is_initialized and layer.keys is not None:
            width = min(columns, layer.keys.shape[-2])
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.cumulative_length = columns
                width = min(columns, layer.sliding_window - 1)
            size = layer.keys.shape[-2]
            _put(
                layer,
                layer.keys[:, :, size - width :].index_select(0, chosen),
                layer.values[:, :, size - width :].index_select(0, chosen),
            )


def _taken(
    layer: Any, cut: tuple[slice, ...], *, copied: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    keys, values = layer.keys[cut], layer.values[cut]
    # No layer writes into what it holds: they make room elsewhere first.
    return (keys.clone(), values.clone()) if copied else (keys, values)


def _put(layer: Any, keys: torch.Tensor, values: torch.Tensor) -> None:
    if isinstance(layer, RoomyLayer):
        layer.put(keys, values)
        return
    if not layer.is_initialized:
        DynamicLayer.lazy_initialization(layer, keys, values)
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values


def _wide(states: torch.Tensor, width: int) -> torch.Tensor:
    """Return the last columns of states, with empty ones before them if there are too few."""
    missing = width - states.shape[-2]
    if missing <= 0:
        return states[:, :, -width:] if width else states[:, :, :0]
    shape = (*states.shape[:-2], missing, states.shape[-1])
    return torch.cat([states.new_zeros(shape), states], dim=-2)


def _grown(kept: torch.Tensor | None, new: torch.Tensor, size: int) -> torch.Tensor:
    room = new.new_empty((*new.shape[:-2], size, new.shape[-1]))
    if kept is not None:
        room[:, :, : kept.shape[-2]] = kept
    return room


def _copy_states(layer: Any, target: Any, row: int) -> None:
    _set_states(layer, target, lambda states: states[row : row + 1].clone())


def _join_states(layers: Sequence[Any], target: Any) -> None:
    first = layers[0]
    for states, name in ((first.conv_states, "conv"), (first.recurrent_states, "recurrent")):
        for index, one in states.items():
            if one is not None:
                whole = torch.cat([getattr(layer, f"{name}_states")[index] for layer in layers])
                _set_state(target, name, index, whole)
    _copy_flags(first, target)


def _select_states(layer: Any, chosen: torch.Tensor) -> None:
    for states in (layer.conv_states, layer.recurrent_states):
        for index, one in states.items():
            if one is not None:
                states[index] = one.index_select(0, chosen)


def _set_states(layer: Any, target: Any, take: Any) -> None:
    for states, name in ((layer.conv_states, "conv"), (layer.recurrent_states, "recurrent")):
        for index, one in states.items():
            if one is not None:
                _set_state(target, name, index, take(one))
    _copy_flags(layer, target)


def _set_state(target: Any, name: str, index: int, states: torch.Tensor) -> None:
    getattr(target, f"{name}_states")[index] = states
    getattr(target, f"is_{name}_states_initialized")[index] = True


def _copy_flags(layer: Any, target: Any) -> None:
    target.has_previous_state = dict(layer.has_previous_state)
    target.conv_kernel_size = dict(layer.conv_kernel_size)
    target.dtype, target.device = layer.dtype, layer.device


def _tensors(cache: Any) -> Iterator[torch.Tensor]:
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.is_initialized and layer.keys is not None:
            yield layer.keys
            yield layer.values
        if isinstance(layer, LinearAttentionLayer):
            for states in (*layer.conv_states.values(), *layer.recurrent_states.values()):
                if states is not None:
                    yield states
