"""Estimates of memory beside what loading, answering and a step of training really take.

    python benchmarks/memory.py [--models NAME ...] [--allocator returns default] [--time]

Every model has random weights and is built, and then measured, in fresh processes, one at a time,
with one thread. Measured is the most memory resident (VmHWM) less what the process had after its
imports and a tiny model's run. Weights lie in the files in bfloat16 and run in float32, as
checkpoints do on most processors, and for `--same` in bfloat16 as they are.

The allocator ``returns`` is glibc's with MALLOC_MMAP_THRESHOLD_=65536: what a tensor took goes
back to the system when it is freed, so that what is resident is what is in use, which the formulas
are about. ``default`` is glibc as it comes: it keeps freed tensors of up to 32 MiB in its heap,
and a heap with holes stays resident. That is quicker: `--time` tells by how much.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from memory_models import MODELS
from openwheel.catalog.fit import PRECISIONS, from_folder, serving_memory, training_memory
from shared import about

CHILD = Path(__file__).with_name("memory_child.py")


def child(what: str, folder: str, name: str, dtype: str, allocator: str = "returns") -> Any:
    """Run one measurement; return what it printed."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
    }
    environment.pop("MALLOC_MMAP_THRESHOLD_", None)
    if allocator == "returns":
        environment["MALLOC_MMAP_THRESHOLD_"] = "65536"
    done = subprocess.run(
        [sys.executable, str(CHILD), what, folder, name, dtype],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{what} {name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, what: str, estimate: float, measured: float, notes: str) -> float:
    ratio = estimate / measured
    print(
        f"| {name} | {what} | {estimate / 1e6:,.0f} | {measured / 1e6:,.0f} | {ratio:.3f} |"
        f" {notes} |",
        flush=True,
    )
    return ratio


def measure(name: str, folder: str, allocator: str, dtype: str) -> list[float]:
    """Measure one model; return the ratios of estimate to measurement."""
    model = MODELS[name]
    known = from_folder(Path(folder))
    precision = PRECISIONS["fp32" if dtype == "float32" else "bf16"]
    use = serving_memory(
        known.architecture,
        precision=precision,
        context=model.context,
        batch=model.batch,
        stored=known.stored if dtype == "float32" else 0.0,
    )
    served = child("serve", folder, name, dtype, allocator)
    size = f"{model.batch} x {model.context} tokens, {dtype}"
    ratios = []
    if dtype == "float32":  # otherwise loading maps the files and reads nothing yet
        ratios.append(row(name, "load", use.loading, served["load"], allocator))
    ratios.append(row(name, f"answer {size}", use.running, served["run"], allocator))
    trained = child("train", folder, name, dtype, allocator)
    training = training_memory(
        known.architecture,
        tokens=model.rows * model.length,
        length=model.length,
        learned_tokens=model.rows * (model.length // 2),
        element=float(precision.compute),
        rank=16,
        targets=trained["targets"],
    )
    size = f"{model.rows} x {model.length} tokens, {dtype}"
    ratios.append(row(name, f"train {size}", training.total, trained["run"], allocator))
    print(f"    processes before: {served['base'] / 1e6:.0f} and {trained['base'] / 1e6:.0f} MB")
    return ratios


def times(names: list[str]) -> None:
    """Print the CPU seconds of a prompt and of a training step under both allocators."""
    print(about("benchmarks/memory.py --time"))
    print("\n| model | allocator | prompt, s of CPU | forward and backward, s of CPU |")
    print("|---|---|---|---|")
    for name in names:
        for allocator in ("default", "returns", "default", "returns"):
            took = child("time", "", name, "float32", allocator)
            print(
                f"| {name} | {allocator} | {took['prompt']:.2f} | {took['step']:.2f} |", flush=True
            )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", nargs="*", default=list(MODELS))
    options.add_argument("--allocator", nargs="*", default=["returns"])
    options.add_argument("--same", action="store_true", help="run in bfloat16, as in the files")
    options.add_argument("--time", action="store_true", help="time the allocators instead")
    chosen = options.parse_args()
    if chosen.time:
        times(chosen.models)
        return
    print(about("benchmarks/memory.py"))
    print("\n| model | what | estimate, MB | measured, MB | ratio | allocator |")
    print("|---|---|---|---|---|---|")
    dtype = "bfloat16" if chosen.same else "float32"
    for allocator in chosen.allocator:
        ratios: list[float] = []
        for name in chosen.models:
            with tempfile.TemporaryDirectory() as folder:
                child("build", folder, name, "bfloat16")
                ratios += measure(name, folder, allocator, dtype)
        within = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
        print(
            f"\n{allocator}: {within} of {len(ratios)} within 10%; ratios from "
            f"{min(ratios):.3f} to {max(ratios):.3f}\n"
        )


if __name__ == "__main__":
    main()
