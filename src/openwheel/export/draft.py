"""A draft as a standard checkpoint folder, which vLLM and transformers load beside its target."""

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from openwheel.errors import ModelError
from openwheel.export.compare import agree, logits_on
from openwheel.export.folder import whole_folder
from openwheel.export.merged import PRECISIONS, SHARD
from openwheel.students.draft import DraftReport

RECORD = "draft.json"


class DraftRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a draft is.

    Attributes:
        target: The model it drafts for, as it was named.
        start: What it was trained from: a checkpoint, or so many first layers of the target.
        parameters: Of the draft.
        report: Its training and its measurement.
    """

    target: str
    start: str
    parameters: int
    report: DraftReport


def write_draft(
    draft: Any,
    tokenizer: Any,
    target: Path,
    *,
    record: DraftRecord,
    precision: str,
    papers: Mapping[str, str],
) -> None:
    """Write a draft, and compare what was written with the model in memory.

    Args:
        draft: The model.
        tokenizer: Its target's tokenizer.
        target: A folder that does not exist yet, or is empty.
        record: What it is; goes into ``draft.json``.
        precision: ``bf16``, ``fp16`` or ``fp32``.
        papers: Texts that go with it by file name.

    Raises:
        ModelError: The precision is unknown, or the folder cannot be written.
    """
    if precision not in PRECISIONS:
        raise ModelError(
            f"The precision of a draft must be one of {', '.join(PRECISIONS)}, was {precision!r}"
        )
    name, dtype = PRECISIONS[precision]
    original = logits_on(draft, tokenizer, ())
    kept = draft.dtype
    with whole_folder(target, record.parameters * dtype.itemsize) as folder:
        try:
            draft.to(dtype).save_pretrained(folder, max_shard_size=SHARD)
            tokenizer.save_pretrained(folder)
        except SafetensorError as error:
            raise OSError(str(error)) from None
        finally:
            draft.to(kept)
        (folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        for file, text in papers.items():
            (folder / file).write_text(text, encoding="utf-8")
        written = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True
        ).eval()
        agree(original, logits_on(written, tokenizer, ()), name)
        del written
        gc.collect()


def read_record(folder: Path) -> DraftRecord:
    """Return what a draft's folder says of it.

    Raises:
        ModelError: It is not a draft's.
    """
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=DraftRecord)
    except FileNotFoundError:
        raise ModelError(f"The folder {folder} must be a draft's, but has no {RECORD}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"The draft's {folder / RECORD} cannot be read: {error}") from None


def draft_card(record: DraftRecord, name: str) -> str:
    """Return how a draft is used and what it is worth, as Markdown."""
    after, before = record.report.after, record.report.before
    config = {
        "model": f"/path/to/{name}",
        "num_speculative_tokens": after.draft_tokens,
        "method": "draft_model",
    }
    return f"""# {name}

A draft for speculative decoding with {record.target}. It proposes tokens that {record.target}
checks, so the answers stay those of {record.target}. It is of no use by itself.

Started from {record.start}; {record.parameters:,} parameters; trained on
{record.report.trained_on:,} captured answers.

| on {after.answers} held-out answers, {after.draft_tokens} proposed tokens | before | after |
|---|---|---|
| tokens for each pass of the target | {before.length:.2f} | {after.length:.2f} |
| 95% interval | {before.low:.2f} to {before.high:.2f} | {after.low:.2f} to {after.high:.2f} |

vLLM:

```sh
vllm serve {record.target} --speculative-config '{json.dumps(config)}'
```

transformers: `target.generate(..., assistant_model=AutoModelForCausalLM.from_pretrained(...))`.
"""
