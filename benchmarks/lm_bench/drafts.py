"""Drafts for speculative decoding: acceptance length before and after training on captured answers.

    python benchmarks/lm_bench/drafts.py

The target is a small model trained from nothing, its tokenizer too: no network. It learns to say in
a sentence what an utterance of SNIPS asks for; the sentences are made of the published annotations.
It then answers utterances it has not seen, greedily; these answers are the captured traffic, and
drafts learn from them and from nothing else. The latest are held out.
"""

import argparse
import os
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

# As the product's own processes do: spinning threads beside a busy machine slow it down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lm_bench.made import make_tokenizer
from openwheel.students.draft import (
    Acceptance,
    Captured,
    DraftSettings,
    Example,
    against_answers,
    against_target,
    encode_captured,
    shrink,
    train_draft,
)
from openwheel.students.draft.measure import write
from openwheel.wire import PromptMessage
from shared import about, rows

CONTEXT = 128


def captured(row: dict[str, Any]) -> Captured:
    return Captured((PromptMessage("user", row["text"]),), sentence(row))


def sentence(row: dict[str, Any]) -> str:
    """Return what an utterance asks for, in words."""
    intent = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", row["intent"]).lower()
    parts = [
        f"the {slot.replace('_', ' ')} is {' and '.join(values)}"
        for slot, values in row["slots"].items()
    ]
    return f"The user wants to {intent}" + (f"; {', '.join(parts)}." if parts else ".")


def make_model(layers: int, hidden: int, tokenizer: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def answers_of(target: Any, examples: list[Example], most: int, tokenizer: Any) -> list[Example]:
    """Let the target answer prompts greedily, 32 at a time."""
    import numpy as np
    import torch

    found: list[Example] = []
    order = sorted(range(len(examples)), key=lambda i: examples[i].prompt)
    answered: dict[int, Example] = {}
    for begin in range(0, len(order), 32):
        part = order[begin : begin + 32]
        prompts = [examples[i].ids[: examples[i].prompt].tolist() for i in part]
        batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        written = target.generate(
            **batch, do_sample=False, max_new_tokens=most, pad_token_id=tokenizer.pad_token_id
        )
        width = batch["input_ids"].shape[1]
        for i, row in zip(part, written, strict=True):
            answer = [token for token in row[width:].tolist() if token != tokenizer.pad_token_id]
            ids = np.array([*examples[i].ids[: examples[i].prompt].tolist(), *answer])
            answered[i] = Example(ids, examples[i].prompt)
    found = [answered[i] for i in range(len(examples))]
    torch.manual_seed(0)
    # An answer that was cut off is not learned from, as in the product.
    return [each for each in found if each.ids[-1] == tokenizer.eos_token_id]


def say(name: str, draft: Any, when: str, found: Acceptance, cost: float) -> None:
    print(
        f"| {name} | {sum(w.numel() for w in draft.parameters()):,} | {when} | {found.answers} "
        f"| {found.draft_tokens} | {found.length:.2f} ({found.low:.2f} to {found.high:.2f}) "
        f"| {found.rate:.1%} | {found.speedup(cost):.2f} |",
        flush=True,
    )


def lossless(target: Any, draft: Any, examples: list[Example], most: int) -> tuple[int, int]:
    """Count answers that assisted generation writes just as the target alone does."""
    import numpy as np
    import torch

    same = 0
    for example in examples:
        alone = write(target, example, temperature=0.0, max_new_tokens=most)
        prompt = torch.tensor(example.ids[None, : example.prompt])
        assisted = target.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            assistant_model=draft,
            do_sample=False,
            max_new_tokens=most,
        )
        same += int(np.array_equal(assisted[0].numpy(), alone.ids))
    return same, len(examples)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--hidden", type=int, default=128, help="width of the target")
    add("--layers", type=int, default=4, help="layers of the target")
    add("--taught", type=int, default=2_000, help="answers that the target learns from")
    add("--asked", type=int, default=900, help="utterances that it answers then")
    add("--target-epochs", type=int, default=4)
    add("--epochs", type=int, default=4, help="of the drafts")
    add("--most", type=int, default=64, help="tokens of an answer")
    add("--threads", type=int, default=1)
    chosen = parser.parse_args()

    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(chosen.threads)
    print(about("benchmarks/lm_bench/drafts.py"))
    began = time.monotonic()
    data = [row for row in rows("snips") if row["split"] == "train"]
    random.Random(0).shuffle(data)
    data = data[: chosen.taught + chosen.asked]
    tokenizer = make_tokenizer((f"{row['text']} {sentence(row)}" for row in data), 1_500)
    encoded = encode_captured(tokenizer, [captured(row) for row in data], context=CONTEXT)
    target = make_model(chosen.layers, chosen.hidden, tokenizer)
    how = DraftSettings(epochs=chosen.target_epochs, learning_rate=2e-3, batch=16, context=CONTEXT)
    taught = train_draft(target, encoded[: chosen.taught], how)
    print(
        f"target: {sum(w.numel() for w in target.parameters()):,} parameters, trained on "
        f"{taught.trained_on} answers ({time.monotonic() - began:.0f} s)",
        flush=True,
    )
    traffic = answers_of(target, encoded[chosen.taught :], chosen.most, tokenizer)
    print(
        f"traffic: {len(traffic)} of {len(encoded) - chosen.taught} answers that ended within "
        f"{chosen.most} tokens ({time.monotonic() - began:.0f} s)\n",
        flush=True,
    )
    print(
        "| draft | parameters | when | answers | proposed | tokens a pass (95%) | taken "
        "| times as fast if bandwidth-bound |\n|---|---|---|---|---|---|---|---|"
    )
    size = sum(w.numel() for w in target.parameters())
    last = None
    for name, layers, soft in (
        ("first layer", 1, False),
        ("first layer, probabilities", 1, True),
        ("from nothing, 1 layer, half as wide", 0, False),
    ):
        draft = shrink(target, layers) if layers else _small(chosen.hidden, tokenizer)
        cost = sum(w.numel() for w in draft.parameters()) / size
        settings = DraftSettings(
            epochs=chosen.epochs, learning_rate=1e-3, context=CONTEXT, most_held_out=64
        )
        report = train_draft(draft, traffic, settings, target=target if soft else None)
        say(name, draft, "before", report.before, cost)
        say(name, draft, "after", report.after, cost)
        last = (draft, cost) if name == "first layer, probabilities" else last
    assert last is not None
    draft, cost = last
    held_out = traffic[-report.after.answers :]
    for proposed in (2, 3, 8):
        say("first layer, probabilities", draft, "after", _again(draft, held_out, proposed), cost)
    sampled = against_target(
        draft, target, held_out[:24], 5, temperature=1.0, max_new_tokens=chosen.most
    )
    say("first layer, probabilities, sampled at 1.0", draft, "after", sampled, cost)
    same, of = lossless(target, draft, held_out[:16], chosen.most)
    print(
        f"\nassisted generation in transformers wrote the target's own answer in {same} of {of} "
        f"({time.monotonic() - began:.0f} s in all)"
    )


def _small(hidden: int, tokenizer: Any) -> Any:
    return make_model(1, max(64, hidden // 2 // 64 * 64), tokenizer)


def _again(draft: Any, examples: list[Example], proposed: int) -> Acceptance:
    return against_answers(draft, examples, proposed)


if __name__ == "__main__":
    main()
