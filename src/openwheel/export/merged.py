"""Merges a base and its adapter into one checkpoint, which needs neither PEFT nor the base."""

import gc
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from openwheel.errors import ModelError
from openwheel.export.compare import Agreement, agree, logits_on
from openwheel.export.source import Source
from openwheel.inference.checkpoint import Checkpoint, find_checkpoint
from openwheel.machine import free_memory
from openwheel.students.lm.base import load_base

PRECISIONS = {
    "fp32": ("float32", torch.float32),
    "bf16": ("bfloat16", torch.bfloat16),
    "fp16": ("float16", torch.float16),
}
SHARD = "4GB"


def bytes_needed(source: Source, precision: str) -> int:
    """Return about how many bytes the merged weights take."""
    checkpoint = find_checkpoint(source.base, revision=source.revision)
    stored = _bytes_a_weight(checkpoint)
    return int(checkpoint.weight_bytes / stored * _precision(precision)[1].itemsize)


def write_merged(source: Source, folder: Path, *, precision: str) -> Agreement:
    """Write a base with its adapter, if any, merged in, and compare it with the original.

    The adapter is merged in float32 where memory allows, in the precision asked for otherwise
    (``bf16``, ``fp16`` or ``fp32``). What was written is read back and run in float32, so that only
    the rounding of its weights counts as a difference.

    Raises:
        ModelError: Base or adapter cannot be loaded, or the written model differs.
    """
    name, dtype = _precision(precision)
    checkpoint = find_checkpoint(source.base, revision=source.revision)
    if "quantization_config" in checkpoint.config:
        raise ModelError(
            f"The base {source.base} is quantised, and an adapter cannot be merged into it "
            "without loss; export the adapter, or train on a base in full precision"
        )
    computed = name if _is_tight(checkpoint) else "float32"
    base = load_base(source.base, revision=source.revision, precision=computed, device="cpu")
    model = base.model if source.adapter is None else _with_adapter(base.model, source.adapter)
    original = logits_on(model, base.tokenizer, source.texts)
    if source.adapter is not None:
        model = _merged(model, source.adapter)
    tokenizer = base.tokenizer
    try:
        model.to(dtype).save_pretrained(folder, max_shard_size=SHARD)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from None
    del base, model
    gc.collect()
    written = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32 if computed == "float32" else dtype, use_safetensors=True
    ).eval()
    return agree(original, logits_on(written, tokenizer, source.texts), name)


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel  # noqa: PLC0415 - 20 seconds of imports

    try:
        with warnings.catch_warnings():  # of PEFT's use of what transformers will drop
            warnings.simplefilter("ignore", FutureWarning)
            return PeftModel.from_pretrained(model, adapter).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ModelError(f"The adapter at {adapter} cannot be put on its base: {first}") from None


def _merged(model: Any, adapter: Path) -> Any:
    try:
        return model.merge_and_unload(safe_merge=True)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"The adapter at {adapter} cannot be merged: {error}") from None


def _precision(precision: str) -> tuple[str, Any]:
    if precision not in PRECISIONS:
        raise ModelError(
            f"The precision of merged weights must be one of {', '.join(PRECISIONS)}, was "
            f"{precision!r}"
        )
    return PRECISIONS[precision]


def _bytes_a_weight(checkpoint: Checkpoint) -> int:
    dtype = checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype")
    return 4 if dtype in {None, "float32"} else 2


def _is_tight(checkpoint: Checkpoint) -> bool:
    """Whether memory does not suffice for the base in float32 and what merging needs besides."""
    needs = checkpoint.weight_bytes / _bytes_a_weight(checkpoint) * 4 * 1.2
    return needs > free_memory()
