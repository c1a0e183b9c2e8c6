"""How fast a checkpoint can answer: bounds from what is read and what is multiplied.

A bound is what a perfect engine would reach. Real ones reach a share of it.
"""

import msgspec

from openwheel.catalog.fit.memory import cache_bytes
from openwheel.catalog.fit.precision import Precision
from openwheel.catalog.fit.shape import Architecture


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a second, at most.

    Attributes:
        decode: Of answers, all sequences together.
        prefill: Of prompts.
        bound: What bounds ``decode``: ``memory`` or ``arithmetic``.
    """

    decode: float | None
    prefill: float | None
    bound: str


def read_bytes(
    architecture: Architecture, precision: Precision, *, context: int, batch: int = 1
) -> int:
    """Return the bytes that one step of answering reads: active weights, and caches.

    Formula: each sequence's token chooses ``k`` of ``n`` experts; of ``b`` sequences
    ``n * (1 - (1 - k/n) ** b)`` distinct ones are expected where choices are even. All else is
    read once, each sequence's cache once. Source: Pope et al. 2022 (arXiv 2211.05102).
    """
    chosen = distinct = 0.0
    for layer in architecture.layers:
        mlp = layer.mlp
        if mlp.experts:
            chosen += mlp.chosen * mlp.expert_parameters
            share = 1 - (1 - min(mlp.chosen / mlp.experts, 1)) ** batch
            distinct += mlp.experts * share * mlp.expert_parameters
    # Published counts of active weights may be below what a shape gives.
    table = min(architecture.hidden * architecture.vocab, architecture.active)
    inner = max(architecture.active - table - chosen, 0.0) + distinct
    inner = min(inner, architecture.parameters - table)
    weights = (inner * precision.bits + table * precision.outer_bits) / 8
    cache = cache_bytes(architecture, context=context, batch=batch, element=precision.compute)
    return int(weights + cache)


def prefill_operations(architecture: Architecture, tokens: int) -> float:
    """Return the operations that a prompt takes.

    Formula: two for each active weight and token, the output layer's for the last token alone;
    for attention over the whole prompt, two products of half the grid of pairs a head. Source:
    Kaplan et al. 2020 (arXiv 2001.08361), section 2.1.
    """
    table = min(architecture.hidden * architecture.vocab, architecture.active)
    total = 2.0 * (architecture.active - table) * tokens + 2.0 * table
    for layer in architecture.layers:
        mixer = layer.mixer
        if mixer.kind in {"attention", "latent"}:
            seen = min(tokens, mixer.window) if mixer.window else tokens
            pairs = tokens * seen / (1 if seen < tokens else 2)
            total += 2.0 * mixer.heads * (mixer.key_dim + mixer.value_dim) * pairs
    return total


def expected_rate(
    architecture: Architecture,
    precision: Precision,
    *,
    bandwidth: float | None,
    flops: float | None,
    context: int,
    batch: int = 1,
) -> Rate:
    """Return the bounds on a device.

    Args:
        architecture: What runs.
        precision: How its weights are kept.
        bandwidth: Bytes a second; None if unknown.
        flops: Operations a second; None if unknown.
        context: Tokens of a sequence: an answer's first token comes after half of them, so caches
            are read at three quarters on average.
        batch: Sequences at once.
    """
    by_memory = by_arithmetic = None
    if bandwidth:
        read = read_bytes(architecture, precision, context=context * 3 // 4, batch=batch)
        by_memory = batch * bandwidth / read
    if flops:
        by_arithmetic = flops / (2.0 * architecture.active)
    known = [rate for rate in (by_memory, by_arithmetic) if rate is not None]
    prompt = max(context // 2, 1)
    return Rate(
        decode=min(known, default=None) if by_memory is not None else None,
        prefill=prompt * flops / prefill_operations(architecture, prompt) if flops else None,
        bound="arithmetic" if known and min(known) == by_arithmetic else "memory",
    )
