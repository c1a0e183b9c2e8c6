"""What a draft is trained from: a small checkpoint, or its target's own first layers."""

import json
from pathlib import Path
from typing import Any

from openwheel.engine.base import load_tokenizer
from openwheel.engine.checkpoint import find_checkpoint
from openwheel.errors import ModelError

# Settings of a configuration that hold one value for each layer.
_BY_LAYER = ("layer_types", "no_rope_layers", "mlp_layer_types", "attn_implementation_by_layer")


def load_target_tokenizer(name: str, *, revision: str = "") -> Any:
    """Load a target's tokenizer; its weights need not be here.

    Args:
        name: A folder with a tokenizer, or a checkpoint as `find_checkpoint` finds it.
        revision: With a hub id: its commit.

    Raises:
        ModelError: There is none.
    """
    if Path(name).is_dir() and not list(Path(name).glob("*.safetensors")):
        from transformers import AutoTokenizer  # noqa: PLC0415 - seconds of imports

        try:
            return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"The tokenizer of {name} cannot be loaded: {error}") from None
    return load_tokenizer(find_checkpoint(name, revision=revision))


def target_rows(name: str, *, revision: str = "") -> int:
    """Return the rows of a target's embedding, as its configuration has them.

    Args:
        name: A folder with a ``config.json``, or a checkpoint as `find_checkpoint` finds it.
        revision: With a hub id: its commit.

    Raises:
        ModelError: There is no configuration, or it does not say.
    """
    try:
        config = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        config = find_checkpoint(name, revision=revision).config
    except (OSError, ValueError) as error:
        raise ModelError(f"The configuration of {name} cannot be read: {error}") from None
    rows = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    if not isinstance(rows, int):
        raise ModelError(f"The configuration of {name} must say its vocab_size, it says {rows!r}")
    return rows


def shrink(target: Any, layers: int) -> Any:
    """Return a new model of a target's first layers, with its embedding, last norm and output.

    Untrained it is a poor draft; it is a start that knows the vocabulary and the first steps of
    what the target computes.

    Args:
        target: A decoder of ``transformers`` whose layers are ``model.layers``.
        layers: How many to keep, fewer than it has.

    Raises:
        ModelError: It has no such layers, or too few.
    """
    import torch  # noqa: PLC0415 - seconds of imports
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    config = target.config
    has = getattr(config, "num_hidden_layers", 0)
    if not 1 <= layers < has:
        raise ModelError(
            f"A draft must keep at least 1 and fewer than all {has} layers of its target, was "
            f"{layers}"
        )
    fields = config.to_dict()
    fields["num_hidden_layers"] = layers
    for name in _BY_LAYER:
        if isinstance(fields.get(name), list):
            fields[name] = fields[name][:layers]
    smaller = type(config).from_dict(fields)
    with torch.random.fork_rng():
        draft = AutoModelForCausalLM.from_config(smaller, dtype=target.dtype)
    lacking = draft.load_state_dict(
        {
            name: weight
            for name, weight in target.state_dict().items()
            if name in draft.state_dict()
        },
        strict=False,
    ).missing_keys
    if lacking:
        raise ModelError(
            f"The first layers of a {config.model_type} model cannot be taken by themselves: "
            f"{lacking[0]} is missing"
        )
    draft.generation_config = target.generation_config
    return draft.to(target.device).eval()


def fit_vocabulary(draft: Any, rows: int, tokens: int) -> None:
    """Give a draft's embedding as many rows as the target's, which engines ask for.

    Families pad the embedding of their sizes differently; the rows beyond the tokenizer's ids
    stand for nothing.

    Args:
        draft: The model, changed in place.
        rows: Of the target's embedding (its configuration's ``vocab_size``).
        tokens: Ids that the tokenizer uses.

    Raises:
        ModelError: The draft has fewer rows than the tokenizer has ids.
    """
    has = draft.config.vocab_size
    if has < tokens:
        raise ModelError(
            f"The draft's embedding must have a row for each of the {tokens} tokens, has {has}"
        )
    if has != rows:
        draft.resize_token_embeddings(rows, mean_resizing=False)
        draft.config.vocab_size = rows
