"""A model's forward pass over several texts, and what that model allows.

Knows tokens only: nothing of conversations, grammars or sampling.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec
import torch

from openwheel.engine.base import Base
from openwheel.engine.cache import CacheKind, bytes_of, head_of, join, keep, kind_of, new_cache

_PROBE = (11, 6)
_PROBE_SPLIT = 4
# Differences that rounding makes, relative to the largest logit, at each precision.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.08, "float16": 0.02}


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model allows without its answers changing.

    Attributes:
        cache: What its cache is made of.
        batch: Texts of different lengths may be continued together.
        together: Prompts of different lengths may be read together.
        reuse: A prompt may be read in two parts, the first of which is kept for other prompts.
    """

    cache: CacheKind
    batch: bool
    together: bool
    reuse: bool


class Batch:
    """Texts that are continued together.

    Attributes:
        cache: What the model remembers of them.
        lengths: Tokens of each.
    """

    def __init__(self, cache: Any, lengths: Sequence[int]) -> None:
        self.cache = cache
        self.lengths = list(lengths)

    @property
    def columns(self) -> int:
        """Columns of the cache: the tokens of the longest text."""
        return max(self.lengths, default=0)


class Runner:
    """Runs a model.

    Args:
        base: The model.
        batched: Whether texts may be continued together at all.

    Attributes:
        abilities: What the model allows. It is tried out on a few tokens: a family whose cache
            cannot be joined, or whose code loses its state between two parts of a prompt, shows
            in other logits.
        token_bytes: Bytes of cache for a token of a text.
        forwards: Forward passes so far.
    """

    def __init__(self, base: Base, *, batched: bool = True) -> None:
        self._model = base.model
        self._config = base.model.config
        self._device = torch.device(base.device)
        takes = inspect.signature(type(base.model).forward).parameters
        self._positions = "position_ids" in takes
        self._last_only = "logits_to_keep" in takes
        self.forwards = 0
        self.token_bytes = 0
        self.abilities = Abilities(cache="own", batch=False, together=False, reuse=False)
        self.abilities = self._tried_out(_TOLERANCE[base.precision], batched=batched)
        self.forwards = 0

    def read(
        self, prompts: Sequence[Sequence[int]], kept: Sequence[tuple[Any, int]] = ()
    ) -> tuple[Batch, torch.Tensor]:
        """Read prompts, and return a batch of them with the logits of what comes next.

        Args:
            prompts: Tokens of each; several only if the model allows it.
            kept: For each, a cache of its first tokens, and how many these are (fewer than all).

        Returns:
            The batch, and logits of shape (prompts, vocabulary).
        """
        kept = kept or [(None, 0)] * len(prompts)
        new = max(len(prompt) - known for prompt, (_, known) in zip(prompts, kept, strict=True))
        # As many tokens of each are read, up to its end; of some, what was kept is read again.
        known = [max(len(prompt) - new, 0) for prompt in prompts]
        batch = Batch(self._recalled(kept, known), known)
        return batch, self._forward(batch, [prompt[-new:] for prompt in prompts])

    def step(self, batch: Batch, tokens: Sequence[int]) -> torch.Tensor:
        """Add a token to each text, and return the logits of what comes next."""
        return self._forward(batch, [(token,) for token in tokens])

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of the texts of several, which are used up."""
        caches = [batch.cache for batch in batches]
        with torch.inference_mode():
            cache = join(self._config, caches, [batch.columns for batch in batches])
        return Batch(cache, [length for batch in batches for length in batch.lengths])

    def keep(self, batch: Batch, rows: Sequence[int]) -> None:
        """Keep some texts of a batch, and let the others go."""
        batch.lengths = [batch.lengths[row] for row in rows]
        with torch.inference_mode():
            keep(batch.cache, rows, batch.columns)

    def copy_head(self, batch: Batch, row: int, tokens: int) -> Any:
        """Return a cache of a text's first tokens; of all, unless the cache is of kind full."""
        first = batch.columns - batch.lengths[row]
        with torch.inference_mode():
            return head_of(self._config, batch.cache, row, first, tokens, copied=True)

    def _recalled(self, kept: Sequence[tuple[Any, int]], known: Sequence[int]) -> Any:
        """Return a cache with the first tokens of each text, as many as are known of it."""
        if not any(known):
            return None if self.abilities.cache == "own" else new_cache(self._config)
        some = next(cache for cache, _ in kept if cache is not None)
        with torch.inference_mode():
            heads = [
                head_of(self._config, some if cache is None else cache, 0, 0, size)
                for (cache, _), size in zip(kept, known, strict=True)
            ]
            return join(self._config, heads, known)

    def _forward(self, batch: Batch, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Add tokens to each text of a batch, to some fewer than to others."""
        past, new = batch.columns, max(map(len, tokens))
        lengths = [have + len(more) for have, more in zip(batch.lengths, tokens, strict=True)]
        columns = past + new
        ids = torch.zeros((len(tokens), new), dtype=torch.long)
        for row, more in enumerate(tokens):
            ids[row, new - len(more) :] = torch.tensor(more)
        before = torch.tensor([columns - length for length in lengths]).unsqueeze(1)
        given: dict[str, Any] = {}
        if bool(before.any()):
            mask = torch.arange(columns).unsqueeze(0) >= before
            given["attention_mask"] = mask.long().to(self._device)
        if self._positions:
            positions = torch.arange(past, columns).unsqueeze(0) - before
            given["position_ids"] = positions.clamp_(min=0).to(self._device)
        if self._last_only:
            given["logits_to_keep"] = 1
        with torch.inference_mode():
            written = self._model(
                input_ids=ids.to(self._device), past_key_values=batch.cache, use_cache=True, **given
            )
            logits: torch.Tensor = written.logits[:, -1].float()
        self.forwards += 1
        batch.cache = written.past_key_values
        batch.lengths = lengths
        return logits

    def _tried_out(self, tolerance: float, *, batched: bool) -> Abilities:
        size = int(self._config.get_text_config(decoder=True).vocab_size)
        long, short = (
            [(7 * at * at + 3 * at + length) % size for at in range(length)] for length in _PROBE
        )
        alone = []
        kind: CacheKind = "own"
        for prompt in (long, short):
            batch, _ = self.read([prompt])
            kind = kind_of(self._config, batch.cache)
            self.token_bytes = max(self.token_bytes, -(-bytes_of(batch.cache) // len(prompt)))
            alone.append(self.step(batch, [prompt[0]]))
        expected = torch.cat(alone)
        if kind == "own":
            return self.abilities
        self.abilities = Abilities(cache=kind, batch=False, together=False, reuse=False)
        nexts = [long[0], short[0]]

        def same(found: torch.Tensor, rows: slice) -> bool:
            scale = float(expected.abs().max())
            return bool((found - expected[rows]).abs().max() <= tolerance * scale)

        def joined() -> torch.Tensor:
            batch = self.join([self.read([long])[0], self.read([short])[0]])
            return self.step(batch, nexts)

        def together() -> torch.Tensor:
            return self.step(self.read([long, short])[0], nexts)

        def split() -> torch.Tensor:
            first, _ = self.read([long[:_PROBE_SPLIT]])
            head = self.copy_head(first, 0, _PROBE_SPLIT)
            batch, _ = self.read([long], [(head, _PROBE_SPLIT)])
            return self.step(batch, nexts[:1])

        both, one = slice(0, 2), slice(0, 1)
        joins = batched and same(joined(), both)
        return Abilities(
            cache=kind,
            batch=joins,
            together=joins and kind == "full" and same(together(), both),
            reuse=same(split(), one),
        )
