"""Training tokens per CPU-second, beside TRL's SFTTrainer on the same work.

Each side is a process of its own with one thread. Both train the same LoRA on the same random
model with the same exchanges, as many to a step, so the same number of steps; tokens are those of
the exchanges, prompts included, each counted once however it was computed. Time is processor time
of the training loop alone, without imports, loading and tokenizing. TRL runs with its defaults
(completion-only loss, no logits of prompts, gradient checkpointing, bfloat16 autocast), and once
more without what does not pay on such models (checkpointing, and on a CPU bfloat16). TRL is no
dependency of ours: where it is not installed (`pip install trl`), our side is measured alone.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_bench.made import make_base
from shared import rows

BATCH, RANK = 8, 16
SIDES = ("openwheel", "trl", "trl-tuned") if importlib.util.find_spec("trl") else ("openwheel",)


class Work(NamedTuple):
    """Exchanges to train on: system text, input and answer of each."""

    name: str
    exchanges: list[tuple[str, str, str]]


def works(count: int) -> list[Work]:
    """Return three tasks: a long prompt and a short answer, both middling, no prompt at all."""
    banking = [row for row in rows("banking77") if row["split"] == "train"][:count]
    labels = sorted({row["label"] for row in rows("banking77")})
    system = (
        "You are given a customer's message to a bank. Say which of these it is about, in exactly "
        "the word given here and nothing else:\n" + "\n".join(f"- {label}" for label in labels)
    )
    snips = [row for row in rows("snips") if row["split"] == "train"][:count]
    extract = (
        "Find the slots in the request and answer with a JSON object of their names, each with "
        "the list of its values. Use the names that such requests have. Answer with JSON alone."
    )
    return [
        Work(
            "labels, 77 of them in the prompt",
            [(system, row["text"], row["label"]) for row in banking],
        ),
        Work(
            "records of JSON",
            [(extract, row["text"], json.dumps(row["slots"])) for row in snips],
        ),
        Work("labels, the input alone", [("", row["text"], row["label"]) for row in banking]),
    ]


def measure(shape: str, count: int, rounds: int, device: str) -> None:
    """Print tokens per CPU-second of each side on each task, and our ratio to TRL's defaults."""
    print(f"training, {shape} model, {count} exchanges, {BATCH} a step, median of {rounds} rounds")
    for work in works(count):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            texts = [text for exchange in work.exchanges for text in exchange]
            make_base(folder / "base", texts, shape=shape, vocabulary=4096)
            (folder / "work.json").write_text(json.dumps(work.exchanges), encoding="utf-8")
            found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for _ in range(rounds):
                for side in SIDES:
                    found[side].append(_run(side, folder, device))
        _print(work.name, found)


def _print(name: str, found: dict[str, list[dict[str, float]]]) -> None:
    first = found["openwheel"][0]
    print(f"\n{name}: {first['tokens'] / first['exchanges']:.0f} tokens an exchange")
    clock = "seconds" if first["device"] else "cpu"
    for side, runs in found.items():
        speed = statistics.median(run["tokens"] / run[clock] for run in runs)
        ratios = [
            ours[clock] * run["tokens"] / (run[clock] * ours["tokens"])
            for ours, run in zip(found["openwheel"], runs, strict=True)
        ]
        print(
            f"  {side:10} {speed:10,.0f} tokens a {'' if clock == 'seconds' else 'CPU-'}second, "
            f"{int(runs[0]['steps'])} steps, last loss {runs[-1]['loss']:.3f}; "
            f"openwheel is {1 / statistics.median(ratios):.2f} times as fast"
        )


def _run(side: str, folder: Path, device: str) -> dict[str, float]:
    threads = "1" if device == "cpu" else "4"
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    code = f"from lm_bench.train import {'ours' if side == 'openwheel' else 'theirs'} as go; go()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), side, device],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def ours() -> None:
    """Train with Openwheel's loop; print what it took."""
    from openwheel.settings import LmSection
    from openwheel.students.lm.adapter import add_adapter
    from openwheel.students.lm.base import load_base
    from openwheel.students.lm.batches import packs_exactly
    from openwheel.students.lm.examples import Record, encode
    from openwheel.students.lm.order import Order
    from openwheel.students.lm.run import Material, Run, pass_tokens
    from openwheel.wire import PromptMessage

    folder, _, device = sys.argv[1:]
    settings = LmSection(
        base=str(Path(folder) / "base"),
        epochs=1,
        batch=BATCH,
        rank=RANK,
        learning_rate=2e-4,
        device=device,
        precision="float32" if device == "cpu" else "bfloat16",
    )
    base = load_base(settings.base, device=device, precision=settings.precision)
    records = [
        Record(
            messages=tuple(PromptMessage(turn["role"], turn["content"]) for turn in turns),
            answer=answer,
        )
        for turns, answer in _conversations(folder)
    ]
    examples = [e for e in encode(base.tokenizer, records, context=1024) if e is not None]
    model = add_adapter(base, settings)
    packed = packs_exactly(model, examples, tolerance=0.25 if device != "cpu" else 1e-3)
    material = Material(model, examples, range(len(examples)), [], packed)
    order = Order(folder=folder, settings=settings, records_sha256="", checkpoint_s=1e9)
    run = Run(order, material, pass_tokens(base, examples, settings), lambda _: None)
    clock = _Clock(device)
    run.run()
    state = run.state
    clock.print(state.tokens, state.step, len(examples), sum(state.losses) / len(state.losses))


def theirs() -> None:
    """Train with TRL's SFTTrainer; print what it took."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    folder, side, device = sys.argv[1:]
    base = str(Path(folder) / "base")
    pairs = _conversations(folder)
    data = Dataset.from_dict(
        {
            "prompt": [turns for turns, _ in pairs],
            "completion": [[{"role": "assistant", "content": answer}] for _, answer in pairs],
        }
    )
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    changes: dict[str, Any] = {}
    if side == "trl-tuned":
        changes = {"gradient_checkpointing": False, "bf16": device != "cpu"}
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=dtype),
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=data,
        args=SFTConfig(
            output_dir=str(Path(folder) / "trl"),
            per_device_train_batch_size=BATCH,  # its default
            num_train_epochs=1,
            learning_rate=2e-4,
            use_cpu=device == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **changes,
        ),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=RANK,
            lora_alpha=2 * RANK,
            target_modules=[
                *("q_proj", "k_proj", "v_proj", "o_proj"),
                *("gate_proj", "up_proj", "down_proj"),
            ],
        ),
    )
    tokens = sum(map(len, trainer.train_dataset["input_ids"]))
    clock = _Clock(device)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    clock.print(tokens, trainer.state.global_step, len(data), losses[-1] if losses else 0.0)


class _Clock:
    def __init__(self, device: str) -> None:
        self._device = device
        self._start = self._now()

    def _now(self) -> tuple[float, float]:
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.process_time(), time.monotonic()

    def print(self, tokens: int, steps: int, exchanges: int, loss: float) -> None:
        cpu, wall = (now - then for now, then in zip(self._now(), self._start, strict=True))
        found = {
            "tokens": tokens,
            "steps": steps,
            "exchanges": exchanges,
            "loss": loss,
            "cpu": cpu,
            "seconds": wall,
            "device": float(self._device != "cpu"),
        }
        print(json.dumps(found))


def _conversations(folder: str) -> Sequence[tuple[list[dict[str, str]], str]]:
    exchanges = json.loads((Path(folder) / "work.json").read_text(encoding="utf-8"))
    return [
        (
            [
                *([{"role": "system", "content": system}] if system else []),
                {"role": "user", "content": text},
            ],
            answer,
        )
        for system, text, answer in exchanges
    ]
