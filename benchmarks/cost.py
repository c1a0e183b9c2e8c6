"""What learning and answering cost: CPU seconds and memory as the operating system counts them.

    python benchmarks/cost.py [--sizes 10000 100000 1000000]

Logs are made from Banking77 (human labels as teacher): its texts once, then each larger log joins
halves of two texts of one label, so that nearly all texts are distinct and the vocabulary is real.
Every size is a fresh process and a fresh store.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from shared import about, rows

SEED = 0


def write_log(path: Path, size: int) -> None:
    """Write a shuffled log of about ``size`` input/output pairs."""
    rng = random.Random(SEED)
    pairs = [(r["text"], r["label"]) for r in rows("banking77") if r["split"] == "train"]
    by_label: dict[str, list[str]] = {}
    for text, label in pairs:
        by_label.setdefault(label, []).append(text)
    rng.shuffle(pairs)
    with path.open("w", encoding="utf-8") as file:
        for i in range(size):
            if i < len(pairs):
                text, label = pairs[i]
            else:
                label = rng.choice(pairs)[1]
                first, second = (rng.choice(by_label[label]).split() for _ in range(2))
                text = " ".join(first[: len(first) // 2 + 1] + second[len(second) // 2 :])
            file.write(json.dumps({"input": text, "output": label}) + "\n")


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """Run a command; return CPU seconds, wall seconds, peak MB and standard output."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if process.returncode:
            raise SystemExit(f"{command} ended with {process.returncode}")
        cpu = usage.ru_utime + usage.ru_stime
        return cpu, time.monotonic() - started, usage.ru_maxrss / 1024, output.read()


def learning(sizes: list[int], folder: Path) -> None:
    print("\nlearn --rungs exact,linear, 77 labels")
    before: tuple[int, float] | None = None
    for size in sizes:
        log, database = folder / f"{size}.jsonl", folder / f"{size}.db"
        write_log(log, size)
        cpu, wall, memory, out = measured(
            [
                *(sys.executable, "-m", "openwheel", "learn", str(log), "--in-order"),
                *("--db", str(database), "--json"),
            ]
        )
        task = json.loads(out)["tasks"][0]
        line = (
            f"  {size:>9,} exchanges: {cpu:6.1f} s of CPU, {wall:6.1f} s, {memory:5.0f} MB; "
            f"coverage {task['coverage']:.3f} at bound {task['bound']:.4f}"
        )
        if before is not None:
            growth = size * np.log(size) / (before[0] * np.log(before[0]))
            line += f"; {cpu / before[1]:.1f} times the CPU, n log n would be {growth:.1f}"
        print(line, flush=True)
        before = (size, cpu)
        log.unlink()


def starting() -> None:
    print("\nimports, median of 9 fresh processes")
    for what in ("pass", "import openwheel", "import openwheel.cli", "import openwheel.gateway"):
        took = []
        for _ in range(9):
            cpu, wall, _, _ = measured([sys.executable, "-c", what])
            took.append((cpu, wall))
        cpu, wall = np.median(np.array(took), axis=0)
        print(f"  {what:26} {cpu:.3f} s of CPU, {wall:.3f} s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    chosen = options.parse_args()
    print(about("benchmarks/cost.py"))
    starting()
    with tempfile.TemporaryDirectory() as folder:
        learning(chosen.sizes, Path(folder))


if __name__ == "__main__":
    main()
