"""What running a checkpoint takes, in bytes.

How the counts of live values were found: every allocation of a forward pass by transformers 5.23
on torch 2.13 was listed at its peak, and each term below stands for tensors on that list
(`tests/catalog/fit/test_allocations.py` compares). Nothing is fitted to measured totals.
"""

import msgspec

from openwheel.catalog.fit.precision import Precision
from openwheel.catalog.fit.shape import Architecture, Layer, Mixer, Mlp

DELTA_CHUNK = 64
"""Tokens in a chunk of the gated delta rule (transformers' and flash-linear-attention's)."""

SSD_CHUNK = 256
"""Tokens in a chunk of Mamba 2 (the default of ``mamba_chunk_size``)."""

LINEAR_BLOCK = 256
"""Tokens in a block of lightning attention (the default of MiniMax's ``block_size``)."""

PREFILL_CHUNK = 2048
"""Tokens of prompts that engines with chunked prefill take in at once (vLLM's and SGLang's
defaults are of this order)."""


class _Pass(msgspec.Struct, frozen=True):
    """A forward pass: tokens of a sequence at once, what they look back at, bytes of a value."""

    tokens: int
    context: int
    element: float
    fused: bool


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that running a checkpoint takes.

    Attributes:
        weights: As kept in memory.
        cache: Keys, values and states of all sequences at their full context.
        work: Values alive at once in a layer, at the worst moment.
        logits: Of the next tokens, while one is chosen.
        loading: What loading takes at its worst moment, in place of all the others.
    """

    weights: int
    cache: int
    work: int
    logits: int
    loading: int

    @property
    def running(self) -> int:
        """Bytes at the worst moment of answering."""
        return self.weights + self.cache + self.work + self.logits

    @property
    def total(self) -> int:
        """Bytes at the worst moment of all."""
        return max(self.running, self.loading)


def weight_bytes(architecture: Architecture, precision: Precision) -> int:
    """Return the bytes of all weights.

    Formula: weights of the embedding and the output layer at ``outer_bits``, all others at
    ``bits``. Source: the formats' definitions, named in `PRECISIONS`.
    """
    table = architecture.hidden * architecture.vocab
    outer = min(table if architecture.tied else 2 * table, architecture.parameters)
    inner = architecture.parameters - outer
    return int((inner * precision.bits + outer * precision.outer_bits) / 8)


def cache_bytes(
    architecture: Architecture,
    *,
    context: int,
    batch: int = 1,
    element: float = 2.0,
    trimmed: bool = True,
) -> int:
    """Return the bytes of keys, values and states of ``batch`` sequences.

    Formula, a sequence: over the layers, tokens looked back at times values kept for one (keys
    and values of all their heads; of latent attention, the compressed row and its rotary part),
    plus states of fixed size in 32 bits. Source: Pope et al. 2022 (arXiv 2211.05102); DeepSeek-V2
    (arXiv 2405.04434) for latent attention; transformers' ``cache_utils``.

    Args:
        architecture: What runs.
        context: Tokens of a sequence, prompt and answer.
        batch: Sequences at once.
        element: Bytes of a cached value.
        trimmed: Whether layers with a window keep no more than it. Transformers keeps the whole
            prompt's until the first token after it.
    """
    total = 0.0
    for layer in architecture.layers:
        mixer = layer.mixer
        seen = min(context, mixer.window) if mixer.window and trimmed else context
        total += seen * mixer.cached * element
        total += mixer.state * 4 + mixer.conv * mixer.conv_tail * element
    return int(batch * total)


def work_bytes(
    architecture: Architecture,
    *,
    tokens: int,
    context: int,
    batch: int = 1,
    element: float = 2.0,
    fused: bool = False,
) -> int:
    """Return the bytes of values alive at once in the worst layer of a forward pass.

    Args:
        architecture: What runs.
        tokens: Tokens of a sequence that pass at once: the prompt, a chunk of it, or 1.
        context: Tokens that they look back at, themselves included.
        batch: Sequences at once.
        element: Bytes of a value.
        fused: Whether attention with heads of unequal widths, and linear attention, have kernels
            that keep what they compute to themselves, as on accelerators; on a CPU they do not.
    """
    hidden = architecture.hidden
    now = _Pass(tokens, context, element, fused)
    shared, worst = _shared_work(architecture, tokens, context, element), 0.0
    for layer in architecture.layers:
        worst = max(
            worst,
            _mixer_work(layer.mixer, hidden, now),
            tokens * _mlp_work(layer.mlp, hidden, element),
            tokens * _norm_work(layer, hidden, element),
        )
    masks = batch * shared[1]
    return int(batch * worst + shared[0] + masks)


def _shared_work(
    architecture: Architecture, tokens: int, context: int, element: float
) -> tuple[float, float]:
    """Return bytes that all layers share: positions as cosines and sines, and masks.

    Positions are made once, masks for each sequence: one byte for a pair of tokens, or a value
    where scores are written. Full attention alone needs no mask.
    """
    mixers = [layer.mixer for layer in architecture.layers]
    wide = max((m.key_dim for m in mixers if m.kind == "attention"), default=0)
    kinds = {bool(m.window) for m in mixers if m.kind == "attention"}
    scored = any(m.scores for m in mixers)
    grid = tokens * context if tokens > 1 else 0
    slides = any(0 < m.window < context for m in mixers)
    masks = grid * (2 * element if scored else float(slides))
    return 2 * wide * element * tokens * max(len(kinds), 1), masks


def _mlp_work(mlp: Mlp, hidden: int, element: float) -> float:
    """Return bytes alive for a token in an MLP.

    Four of the stream's width: the embeddings and the layer's input, which the model's loop
    holds, the residual, and what the norm made. A gated MLP adds three of its own width (gate
    after the activation, up, their product). Routed experts add for each chosen one either its
    sorted input and four expert widths, or four of the stream's width: input, output, output
    weighed, output in the tokens' order.
    """
    dense = (4 * hidden + 3 * mlp.width) * element
    if not mlp.experts:
        return dense
    weighed = 4.0 if mlp.weighed_in_32 else element
    routed = max(
        (hidden + 4 * mlp.expert_width) * element,
        2 * hidden * (element + weighed),
    )
    return max(dense + hidden * element, 4 * hidden * element + mlp.chosen * routed)


def _norm_work(layer: Layer, hidden: int, element: float) -> float:
    """Return bytes alive for a token in a norm after the MLP, which computes in 32 bits."""
    return 4 * hidden * element + 3 * hidden * 4 if layer.norms > 2 else 0.0


def _mixer_work(mixer: Mixer, hidden: int, now: _Pass) -> float:
    """Return bytes alive in a mixer, for one sequence.

    Three of the stream's width (embeddings, residual, and what the norm made) and its own.
    """
    if mixer.kind == "attention":
        own = _attention_work(mixer, now)
    elif mixer.kind == "latent":
        own = _latent_work(mixer, now)
    elif mixer.kind == "conv":
        own = 7 * mixer.conv * now.element * now.tokens
    else:
        own = _state_work(mixer, now)
    return 3 * hidden * now.element * now.tokens + own


def _state_work(mixer: Mixer, now: _Pass) -> float:
    """Return bytes alive in a mixer that keeps a state, for one sequence."""
    element, tokens = now.element, now.tokens
    wide = mixer.heads * (mixer.key_dim + mixer.value_dim)
    projected = (mixer.conv + mixer.heads * mixer.value_dim) * element * tokens
    if mixer.interleaved:
        projected *= 2
    if tokens == 1:  # the state in three forms; of Mamba in five, its inputs spread to its size
        return projected + (5 if mixer.kind == "ssd" else 3) * mixer.state * 4
    if now.fused:
        return projected + 2 * wide * element * tokens
    if mixer.kind == "linear":  # block after block, with two block-by-block matrices
        blocks = 2 * mixer.heads * LINEAR_BLOCK**2 * element
        return 4 * mixer.queries * element * tokens + blocks
    if mixer.kind == "delta":
        # In 32 bits: three chunk-by-chunk matrices, and queries, keys and values in five forms.
        matrices = 3 * DELTA_CHUNK * mixer.heads * (mixer.key_dim if mixer.channelwise else 1)
        return projected + (matrices + 5 * wide) * 4 * tokens
    # In 32 bits: three chunk-by-chunk matrices, inputs and outputs in eight forms, and what goes
    # into and comes out of the state, expanded to all heads, in two. Short prompts are padded.
    padded = SSD_CHUNK * -(-tokens // SSD_CHUNK)
    inner, state = mixer.heads * mixer.value_dim, mixer.heads * mixer.key_dim
    matrices = 3 * SSD_CHUNK * mixer.heads
    return 2 * projected + (matrices + 8 * inner + 2 * state) * 4 * padded


def _attention_work(mixer: Mixer, now: _Pass) -> float:
    """Return bytes alive in attention with whole keys and values.

    While positions are applied: queries in four forms, keys and values. In a kernel that writes
    scores: keys and values copied for all query heads, and the scores: with sinks beside them,
    less their largest, and as probabilities; with a cap, capped and as probabilities.
    """
    tokens, context, element = now.tokens, now.context, now.element
    positions = (4 * mixer.queries + mixer.keys + mixer.values) * element * tokens
    if tokens == 1:  # growing the cache copies a layer's keys
        positions += max(mixer.keys, mixer.values) * element * context
    if not mixer.scores:
        return positions
    copied = mixer.heads * (mixer.key_dim + mixer.value_dim) * context * element
    # A cap's softmax is in 32 bits: in half precision it reads and writes copies.
    capped = 8 if element >= 4 else 8 + element
    grid = mixer.heads * tokens * context * (3 * element if mixer.scores == "sinks" else capped)
    return max(positions, mixer.queries * element * tokens + copied + grid)


def _latent_work(mixer: Mixer, now: _Pass) -> float:
    """Return bytes alive in latent attention.

    Keys and values are made for all heads from the compressed rows. Torch's kernel for a CPU
    takes no values of another width than keys, so scores are written: in 32 bits with their
    probabilities and a mask of one byte, beside scaled queries and keys; in half precision,
    beside copies of queries, keys and values in 32 bits as well.
    """
    tokens, context, element = now.tokens, now.context, now.element
    expanded = mixer.heads * (2 * mixer.key_dim + mixer.value_dim)
    queries = 2 * mixer.queries * tokens * element
    made = expanded * context * element
    if now.fused or mixer.key_dim == mixer.value_dim:
        return queries + made
    widths = mixer.key_dim + (0 if element >= 4 else mixer.key_dim + mixer.value_dim)
    copies = mixer.heads * (widths * context + mixer.key_dim * tokens) * 4
    return queries + made + copies + mixer.heads * tokens * context * 9


def serving_memory(
    architecture: Architecture,
    *,
    precision: Precision,
    context: int,
    batch: int = 1,
    chunk: int = 0,
    fused: bool = False,
    paged: bool = False,
    stored: float = 0.0,
) -> Use:
    """Return what answering takes, in bytes.

    Args:
        architecture: What runs.
        precision: How its weights are kept.
        context: Tokens of a sequence, prompt and answer.
        batch: Sequences at once.
        chunk: Tokens of a prompt that pass at once; 0: all, as in transformers' ``generate``.
        fused: See `work_bytes`.
        paged: Whether the engine is one whose cache grows by pages and whose prompts pass in
            chunks, all sequences' together (vLLM, SGLang, llama.cpp).
        stored: Bytes a weight has in the files, where it is another than in memory: loading then
            holds the files' pages beside the converted weights. 0: the same, and the files
            themselves are the memory, read when first touched.
    """
    element = float(precision.compute)
    kept = weight_bytes(architecture, precision)
    cache = cache_bytes(architecture, context=context, batch=batch, element=element, trimmed=paged)
    if paged:
        tokens = min(chunk or PREFILL_CHUNK, context * batch)
        work = work_bytes(architecture, tokens=tokens, context=context, element=element, fused=True)
    else:
        at_once = min(chunk or context, context)
        work = max(
            work_bytes(
                architecture,
                tokens=now,
                context=context,
                batch=batch,
                element=element,
                fused=fused,
            )
            for now in (at_once, 1)
        )
    # The chosen token's probabilities are made in 32 bits, from logits of the precision.
    logits = int(batch * architecture.vocab * (element + 8))
    loading = kept + int(architecture.parameters * stored) if stored else kept
    if stored:  # experts kept one by one are joined layer by layer
        experts = (layer.mlp.experts * layer.mlp.expert_parameters for layer in architecture.layers)
        loading += int(max(experts, default=0) * element)
    return Use(weights=kept, cache=cache, work=work, logits=logits, loading=loading)
