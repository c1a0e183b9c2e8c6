"""What `openwheel models fit` says beside what serving and a training run really take.

    python benchmarks/memory.py [--models NAME ...]

Every model has random weights. Serving: llama.cpp (`pip install xllamacpp`) reads a prompt that
fills the context and writes a few tokens, with one thread; measured is the most memory resident of
its process (VmHWM). Training: the step that `--for train` takes, beside a run of ten steps of as
many exchanges, each in a process of its own; measured is the most memory of the run's.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from lm_bench.made import make_tokenizer
from openwheel.catalog.fit import Device, Wish, judge, of_folder
from openwheel.settings import LmSection
from shared import about

MODELS: dict[str, dict[str, Any]] = {
    "Llama 10M": {
        "model_type": "llama", "hidden_size": 288, "intermediate_size": 768,
        "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 3,
        "vocab_size": 8000,
    },
    "Qwen3 130M": {
        "model_type": "qwen3", "hidden_size": 768, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
        "head_dim": 96, "vocab_size": 64000, "tie_word_embeddings": True,
    },
    "Gemma 3 120M": {
        "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 256, "vocab_size": 90000, "sliding_window": 256,
    },
    "Llama 320M": {
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 20, "num_attention_heads": 16, "num_key_value_heads": 4,
        "vocab_size": 32000,
    },
}  # fmt: skip
PRECISIONS = {"bf16": "bf16", "q8_0": "int8"}
CONTEXTS = (512, 4096)
EXCHANGES, LENGTH = 4, 192
TEXT = "the quick brown fox jumps over the lazy dog, pack my box with five dozen liquor jugs. " * 20


def build(name: str, folder: Path) -> None:
    """Save a random model, and write it as GGUF."""
    import torch
    import transformers

    from openwheel.inference.gguf import write_gguf

    transformers.utils.logging.disable_progress_bar()
    tokenizer = make_tokenizer([TEXT], 400)
    fields = {**MODELS[name]}
    config = transformers.CONFIG_MAPPING[fields.pop("model_type")](
        **fields,
        max_position_embeddings=max(CONTEXTS),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    for precision in PRECISIONS:
        write_gguf(folder, folder / f"{precision}.gguf", precision=precision, name=name)


def serve(file: str, context: str) -> None:
    """Serve one request by llama.cpp, and print what the process took."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx = file, int(context)
    params.n_parallel, params.warmup, params.verbosity = 1, False, 0
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    prompt = [5 + i % 300 for i in range(int(context) - 8)]
    body = {"prompt": prompt, "n_predict": 4, "cache_prompt": False}
    asked = urllib.request.Request(
        server.listening_address + "/completion",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=300) as answer:
        answer.read()
    _print_peak()


def train(folder: str, threads: str) -> None:
    """Train for ten steps, and print what the process took."""
    from openwheel.students.lm.examples import Record
    from openwheel.students.lm.train import place_order
    from openwheel.students.lm.work import carry_out
    from openwheel.wire import PromptMessage

    words = np.random.default_rng(0).choice(TEXT.split(), (EXCHANGES, LENGTH))
    records = [
        Record(
            messages=(PromptMessage("user", " ".join(row[: LENGTH * 3 // 4])),),
            answer=" ".join(row[LENGTH * 3 // 4 :]),
        )
        for row in words
    ]
    settings = LmSection(base=folder, epochs=10, batch=EXCHANGES, threads=int(threads))
    with tempfile.TemporaryDirectory() as work:
        report = carry_out(place_order(Path(work), records, settings), lambda _: None)
    _print_peak(tokens=report.tokens // report.steps, seconds=report.seconds / report.steps)


def _print_peak(**more: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(json.dumps({"peak": peak, **more}), flush=True)
    os._exit(0)  # llama.cpp's threads are waited for otherwise


def child(*arguments: object) -> dict[str, float]:
    """Run one measurement in a process of its own; return what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{arguments} ended with {done.returncode}: {done.stderr[-2000:]}")
    lines = done.stdout.splitlines()
    found: dict[str, float] = json.loads(lines[-1]) if lines else {}
    return found


def row(name: str, what: str, said: float, measured: float) -> float:
    ratio = said / measured
    print(
        f"| {name} | {what} | {said / 1e6:,.0f} | {measured / 1e6:,.0f} | {ratio:.2f} |", flush=True
    )
    return ratio


def measure(name: str, folder: Path) -> list[float]:
    """Measure one model; return the ratios of what is said to what is measured."""
    from openwheel.students.lm.step import measure_step

    child("build", name, folder)
    ratios = []
    device = Device(kind="cpu", name="", memory=1 << 40, free=1 << 40)
    for precision, ours in PRECISIONS.items():
        for context in CONTEXTS:
            said = judge(of_folder(folder), device, Wish(context=context, precision=ours)).needed
            found = child("serve", folder / f"{precision}.gguf", context)["peak"]
            ratios.append(row(name, f"serve, {precision}, {context:,} tokens", said, found))
    settings = LmSection(threads=1)
    # The exchanges' words are a token or two each: the run's own count is what is measured.
    run = child("train", folder, 1)
    length = round(run["tokens"] / EXCHANGES)
    begun = time.monotonic()
    step = measure_step(str(folder), context=length, batch=EXCHANGES, settings=settings)
    ratios.append(row(name, f"train, {EXCHANGES} x {length} tokens", step.peak, run["peak"]))
    said_seconds = step.seconds * run["tokens"] / step.tokens
    print(
        f"    a step: said {said_seconds:.2f} s, took {run['seconds']:.2f} s; the answer took "
        f"{time.monotonic() - begun:.0f} s",
        flush=True,
    )
    return ratios


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", nargs="*", default=list(MODELS))
    options.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.child:
        what, *arguments = chosen.child
        if what == "build":
            build(arguments[0], Path(arguments[1]))
        else:
            {"serve": serve, "train": train}[what](*arguments)
        return
    print(about("benchmarks/memory.py"))
    print("\n| model | what | said, MB | measured, MB | ratio |")
    print("|---|---|---|---|---|")
    ratios: list[float] = []
    for name in chosen.models:
        with tempfile.TemporaryDirectory() as folder:
            ratios += measure(name, Path(folder))
    within = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
    print(f"\n{within} of {len(ratios)} within 10%; from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
