"""What one step of LoRA training takes, in bytes.

How the terms were found: every tensor that autograd of torch 2.13 saves for a step of
transformers 5.23 and PEFT 0.21 was listed by shape, and each term below stands for tensors on
that list (`tests/catalog/fit/test_allocations.py` compares). Nothing is fitted to measured totals.
"""

from collections.abc import Collection

import msgspec

from openwheel.catalog.fit.memory import DELTA_CHUNK, SSD_CHUNK
from openwheel.catalog.fit.shape import Architecture, Layer, Linear, Mixer, Mlp


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that a training takes.

    Attributes:
        weights: The base, frozen.
        adapter: What is learned, in 32 bits.
        gradients: Its gradients.
        optimizer: AdamW's two moments.
        activations: What the forward pass keeps for the backward pass.
        logits: Of the learned positions, their softmax and their gradients, all in 32 bits.
        work: Values alive in one layer's backward pass, after the logits are gone.
        learned: Weights that are learned, a count.
    """

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    work: int
    learned: int

    @property
    def fixed(self) -> int:
        """Bytes that are taken whatever the batch."""
        return self.weights + self.adapter + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Bytes at the worst moment of a step."""
        return self.fixed + self.activations + max(self.logits, self.work)

    @property
    def resident(self) -> int:
        """Bytes that a process on a processor holds under glibc's allocator as it comes.

        Freed activations leave a heap with holes that the next step does not fill: they are
        counted twice. A rule from measurements (`benchmarks/memory.py --allocator default`), not
        from the allocator's code; with ``MALLOC_MMAP_THRESHOLD_=65536`` it is ``total``.
        """
        return 2 * self.total - self.fixed


def training_memory(
    architecture: Architecture,
    *,
    tokens: int,
    length: int,
    learned_tokens: int | None = None,
    element: float = 4.0,
    rank: int = 16,
    targets: Collection[str] | None = None,
    checkpointing: bool = False,
    masked: bool = False,
    fused: bool = False,
    copies: int = 3,
) -> Training:
    """Return what a training by LoRA takes.

    Formulas: weights at ``element`` bytes; an adapter of ``rank * (inputs + outputs)`` weights a
    target, each with a gradient and two moments (AdamW, Loshchilov and Hutter 2019) of 4 bytes;
    activations by the tensors that autograd saves; ``4 * copies`` bytes a logit.

    Args:
        architecture: The base.
        tokens: Tokens of a batch, padding included, that pass at once (not accumulated ones).
        length: Tokens of its longest sequence; of a packed batch, all of its tokens.
        learned_tokens: Positions at which logits are made; None: all of ``tokens``.
        element: Bytes of a weight and of an activation: 4, or 2 for half precision.
        rank: Of the adapter.
        targets: Names of linear modules; None: all that the architecture names.
        checkpointing: Whether only each layer's input is kept, and layers run again.
        masked: Whether batches carry a mask (packing, padding): then torch's attention copies
            keys and values for all query heads, and each layer keeps the mask in ``element``.
        fused: As for `memory.work_bytes`.
        copies: Tensors of logits alive at once: softmax and two gradients, and one more where
            the caller holds the logits themselves.
    """
    learned_tokens = tokens if learned_tokens is None else min(learned_tokens, tokens)
    step = _Step(tokens, length, element, rank, targets, masked, fused)
    kept = [step.layer(layer, architecture.hidden) for layer in architecture.layers]
    last_norm = 4 * architecture.hidden * tokens
    work_now = max(
        (step.work(layer, architecture.hidden) for layer in architecture.layers), default=0
    )
    if checkpointing:
        activations = len(kept) * architecture.hidden * element * tokens + last_norm
        work_now += max(kept, default=0.0)
    else:
        activations = sum(kept) + last_norm
    count = sum(
        rank * (linear.inputs + linear.outputs)
        for layer in architecture.layers
        for linear in step.chosen(layer)
    )
    return Training(
        weights=int(architecture.parameters * element),
        adapter=4 * count,
        gradients=4 * count,
        optimizer=8 * count,
        activations=int(activations),
        logits=int(learned_tokens * architecture.vocab * 4 * copies),
        work=int(work_now),
        learned=count,
    )


class _Step(msgspec.Struct, frozen=True):
    """A step's measures, and what each part of a layer keeps of it."""

    tokens: int
    length: int
    element: float
    rank: int
    targets: Collection[str] | None
    masked: bool
    fused: bool

    def chosen(self, layer: Layer) -> list[Linear]:
        """Return the linear modules that have an adapter."""
        linears = (*layer.mixer.linears, *layer.mlp.linears)
        return [one for one in linears if self.targets is None or one.name in self.targets]

    def layer(self, layer: Layer, hidden: int) -> float:
        """Return bytes that a layer keeps: norms' inputs in 32 bits, mixer, MLP, adapters'."""
        kept = layer.norms * hidden * 4.0 * self.tokens
        kept += self._mixer(layer.mixer)
        kept += self._mlp(layer.mlp, hidden) * self.tokens
        return kept + self._adapters(layer, hidden) * self.tokens

    def work(self, layer: Layer, hidden: int) -> float:
        """Return bytes alive in a layer's backward pass, or in its forward pass, beside all kept.

        Gradients of the MLP's product and of the stream, again in 32 bits where adapters
        compute in them; of experts, gradients of their outputs in three orders; of kernels that
        write scores or chunks' matrices, those once more.
        """
        mixer, mlp = layer.mixer, layer.mlp
        each = (mlp.width + 2 * hidden) * self.element
        if self.element < 4:
            each += 4 * (mlp.width + hidden)
        each = max(each, (3 * mlp.chosen + 2) * hidden * self.element)
        if mixer.kind == "ssd" and not self.fused:
            each += 4 * SSD_CHUNK * mixer.heads
        if mixer.channelwise and not self.fused:
            each += 4 * 3 * DELTA_CHUNK * mixer.heads * mixer.key_dim
        if mixer.scores == "sinks":
            each = max(each, 2 * mixer.heads * self.length * self.element)
        return each * self.tokens

    def _adapters(self, layer: Layer, hidden: int) -> float:
        """Return bytes a token that adapters keep: their inputs in 32 bits, and what A gives.

        In 32 bits modules that read one tensor keep it once, and what the mixer wrote is kept
        by the mixer; in half precision each keeps a copy of its own.
        """
        chosen = self.chosen(layer)
        inner = 4.0 * self.rank * len(chosen)
        if self.element < 4:
            return inner + 4.0 * sum(linear.inputs for linear in chosen)
        names = {linear.name for linear in chosen}
        streams = sum(
            any(one.reads == "stream" and one.name in names for one in part.linears)
            for part in (layer.mixer, layer.mlp)
        )
        wide = sum(one.inputs for one in chosen if one.reads == "wide")
        return inner + 4.0 * (streams * hidden + wide)

    def _mlp(self, mlp: Mlp, hidden: int) -> float:
        """Return bytes a token: gate, activation, up; of experts likewise, and their outputs."""
        kept = 3 * mlp.width * self.element
        if mlp.experts:
            weighed = 4.0 if mlp.weighed_in_32 else self.element
            each = 3 * mlp.expert_width * self.element + hidden * weighed + 24  # and three places
            kept += mlp.chosen * each + 4 * mlp.experts
        return kept

    def _mixer(self, mixer: Mixer) -> float:
        """Return bytes that a mixer keeps."""
        if mixer.kind in {"attention", "latent"}:
            return self._attention(mixer)
        element, tokens = self.element, self.tokens
        if mixer.kind == "conv":
            return 6 * mixer.conv * element * tokens
        keys, values = mixer.heads * mixer.key_dim, mixer.heads * mixer.value_dim
        if self.fused or mixer.kind == "linear":
            return (2 * mixer.conv + 4 * (keys + values)) * element * tokens
        if mixer.kind == "delta":
            # In 32 bits: five chunk-by-chunk matrices, nineteen forms of keys or values, and
            # each chunk's state.
            matrices: float = (
                (3 * mixer.key_dim if mixer.channelwise else 5) * DELTA_CHUNK * mixer.heads
            )
            matrices += mixer.state / DELTA_CHUNK
            wide = 9.5 * (keys + values)
            return ((matrices + wide) * 4 + 2 * mixer.conv * element) * tokens
        # In 32 bits: three chunk-by-chunk matrices, eleven forms of inputs and outputs or of
        # what goes into and comes out of the state; and what is projected and convolved.
        padded = SSD_CHUNK * -(-self.length // SSD_CHUNK) / max(self.length, 1)
        inside = 3 * SSD_CHUNK * mixer.heads + 7 * values + 4 * keys
        return (inside * 4 * padded + (3 * mixer.conv + values) * element) * tokens

    def _attention(self, mixer: Mixer) -> float:
        """Return bytes that attention keeps: queries, keys, values, output, and row sums."""
        element, tokens = self.element, self.tokens
        queries, out = mixer.queries, mixer.heads * mixer.value_dim
        keys, values = mixer.keys, mixer.values
        written = mixer.scores or (
            mixer.kind == "latent" and mixer.key_dim != mixer.value_dim and not self.fused
        )
        masked = (self.masked or 0 < mixer.window < self.length) and not self.fused
        if masked or written:
            keys, values = queries, out
        each = (queries + keys + values + out) * element
        if mixer.normed:
            each += (queries + mixer.keys) * 4
        kept = each * tokens + 4.0 * mixer.heads * tokens
        grid = float(tokens * self.length)
        if written:
            # Probabilities, with sinks and without; under a cap also what the hyperbolic tangent
            # gave, and in half precision the probabilities in both.
            kept += mixer.heads * grid * {"cap": 8, "sinks": 2 * element}.get(mixer.scores, 4)
        elif masked:
            kept += grid * element
        if mixer.kind == "latent":
            # What lies between the two projections of queries, and of keys and values.
            between = sum(one.inputs for one in mixer.linears if one.reads == "own")
            kept += 2 * between * element * tokens
        return kept
