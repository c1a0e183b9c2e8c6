"""The shape of an architecture, layer by layer: all that memory and speed depend on.

Numbers are counts of values, not bytes: a precision makes bytes of them.
"""

from typing import Literal

import msgspec

Reads = Literal["stream", "mixed", "wide", "own"]
"""What a linear module reads: the normalised residual stream, what the mixer wrote, the MLP's
product, or a tensor nobody else reads."""


class Linear(msgspec.Struct, frozen=True):
    """A linear module, which LoRA may target.

    Attributes:
        name: The last part of its name.
        inputs: Its input's width.
        outputs: Its output's width.
        reads: What it reads.
    """

    name: str
    inputs: int
    outputs: int
    reads: Reads

    @property
    def parameters(self) -> int:
        """Weights, without a bias."""
        return self.inputs * self.outputs


class Mixer(msgspec.Struct, frozen=True, kw_only=True):
    """What mixes tokens in a layer: attention, or something with a state of fixed size.

    Attributes:
        kind: ``attention`` keeps keys and values; ``latent`` keeps them compressed (multi-head
            latent attention); ``delta`` (gated delta rule), ``ssd`` (Mamba 2), ``conv`` (a short
            convolution) and ``linear`` (other linear attention) keep a state.
        heads: Query heads, or the heads of the state.
        kv_heads: Key and value heads.
        key_dim: A head's key width; of ``ssd``, the width of its state.
        value_dim: A head's value width.
        window: Tokens it looks back; 0: all.
        latent: Of ``latent``, values kept for a token.
        index: Values a sparse attention's indexer keeps for a token.
        normed: Whether queries and keys are normalised.
        scores: Why the whole matrix of scores is written, query by key by head, if it is: fused
            kernels know no cap on scores and no sinks.
        interleaved: Whether one projection gives queries, keys, values and gates head by head, so
            that they are copied apart.
        borrows: Whether it keeps nothing, but reads an earlier layer's keys and values.
        channelwise: Whether each channel of a state decays by itself (Kimi Delta Attention).
        state: Values of a sequence's state, kept in 32 bits.
        conv: Channels of the convolution before the state, each of which keeps a few values.
        conv_tail: Values that a channel keeps.
        linears: Its linear modules.
    """

    kind: Literal["attention", "latent", "delta", "ssd", "conv", "linear"]
    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    window: int = 0
    latent: int = 0
    index: int = 0
    normed: bool = False
    scores: Literal["", "cap", "sinks"] = ""
    interleaved: bool = False
    channelwise: bool = False
    borrows: bool = False
    state: int = 0
    conv: int = 0
    conv_tail: int = 0
    linears: tuple[Linear, ...] = ()

    @property
    def queries(self) -> int:
        """Width of all query heads."""
        return self.heads * self.key_dim

    @property
    def keys(self) -> int:
        """Width of all key heads."""
        return self.kv_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of all value heads."""
        return self.kv_heads * self.value_dim

    @property
    def cached(self) -> int:
        """Values kept for a token that is looked back at."""
        if self.borrows or self.kind not in {"attention", "latent"}:
            return 0
        return (self.latent or self.keys + self.values) + self.index


class Mlp(msgspec.Struct, frozen=True, kw_only=True):
    """What follows the mixer: a gated MLP, a mixture of experts, or both.

    Attributes:
        width: Of the MLP that every token passes; shared experts are one such.
        experts: Routed experts.
        chosen: How many of them a token uses.
        expert_width: Width of one.
        expert_parameters: Weights of one.
        weighed_in_32: Whether experts' outputs are weighed in 32 bits (DeepSeek's routers).
        linears: Linear modules of the MLP that every token passes.
        router: Weights that choose.
    """

    width: int = 0
    experts: int = 0
    chosen: int = 0
    expert_width: int = 0
    expert_parameters: int = 0
    weighed_in_32: bool = False
    linears: tuple[Linear, ...] = ()
    router: int = 0


class Layer(msgspec.Struct, frozen=True):
    """A decoder layer.

    Attributes:
        mixer: What mixes tokens.
        mlp: What follows it.
        norms: Norms of the residual stream's width: two, or four where outputs are normed too.
    """

    mixer: Mixer
    mlp: Mlp
    norms: int = 2


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder-only language model.

    Attributes:
        hidden: Width of the residual stream.
        vocab: Rows of the embedding.
        tied: Whether the output layer is the embedding.
        layers: Its layers, in order.
        parameters: All weights.
        active: Weights that a token's pass reads: without the experts not chosen, and without
            the embedding, of which it reads one row (the output layer is counted).
        context: Tokens its config allows; 0 if it does not say.
        uncounted: Parts that the config names and these numbers leave out.
    """

    hidden: int
    vocab: int
    tied: bool
    layers: tuple[Layer, ...]
    parameters: int
    active: int
    context: int = 0
    uncounted: tuple[str, ...] = ()


def count_parameters(
    hidden: int, vocab: int, tied: bool, layers: tuple[Layer, ...]
) -> tuple[int, int]:
    """Return all weights, and those that a token's pass reads, from the modules' sizes.

    Biases and other vectors, except the norms, are left out: below a thousandth of a model.
    """
    total = active = hidden  # the last norm
    for layer in layers:
        linears = (*layer.mixer.linears, *layer.mlp.linears)
        fixed = sum(linear.parameters for linear in linears)
        fixed += layer.norms * hidden + layer.mlp.router
        fixed += layer.mixer.conv * (layer.mixer.conv_tail + 1 if layer.mixer.conv else 0)
        total += fixed + layer.mlp.experts * layer.mlp.expert_parameters
        active += fixed + layer.mlp.chosen * layer.mlp.expert_parameters
    table = hidden * vocab
    return total + (table if tied else 2 * table), active + table
