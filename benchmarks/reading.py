"""What reading a log costs: CPU time for each exchange, and memory, beside decoding its JSON alone.

    python benchmarks/reading.py [N]

Each format is written once with N exchanges (1,000,000 by default) and read three times, in turn
with the floor: msgspec decoding each line. The medians and their ratio are printed, and the most
memory that a process of its own took to read it.
"""

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from openwheel.importing import LogProblems, read_log

ROUNDS = 3
WORDS = ["pump", "valve", "motor", "seal", "leak", "noise", "shaft", "bearing", "alarm", "line"]
SYSTEM = "Name the queue of a ticket: pumps, valves or motors."


def chat(rng: random.Random, i: int) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"ticket {i}: " + " ".join(rng.choices(WORDS, k=40))},
    ]
    return {"model": "big-1", "temperature": 0, "messages": messages}


def exchange(rng: random.Random, i: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": rng.choice(["pumps", "valves", "motors"])}
    return {
        "time": 1_700_000_000 + i,
        "request": chat(rng, i),
        "response": {
            "id": f"c{i}",
            "model": "big-1",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 60, "completion_tokens": 1},
        },
    }


def pair(rng: random.Random, i: int) -> dict[str, Any]:
    text = f"ticket {i}: " + " ".join(rng.choices(WORDS, k=40))
    return {"time": 1_700_000_000 + i, "input": text, "output": rng.choice(["pumps", "valves"])}


def span(rng: random.Random, i: int) -> dict[str, Any]:
    system, user = chat(rng, i)["messages"]
    return {
        "start_time": 1_700_000_000 + i,
        "attributes": {
            "gen_ai.request.model": "big-1",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": system["content"],
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": user["content"],
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "pumps",
        },
    }


def lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def cpu_of(path: Path) -> tuple[float, float]:
    """Return the median microseconds of CPU for each exchange: read, and decoded alone."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    reads, floors = [], []
    for _ in range(ROUNDS):
        start = time.process_time()
        n = sum(1 for _ in read_log(path, problems=LogProblems(), strict=True))
        reads.append((time.process_time() - start) / n)
        start = time.process_time()
        for line in lines(path):
            decode(line)
        floors.append((time.process_time() - start) / n)
    return statistics.median(reads) * 1e6, statistics.median(floors) * 1e6


def memory_of(path: Path) -> float:
    """Return the most memory in MB that reading a log takes in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--read", str(path)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    if sys.argv[1:2] == ["--read"]:
        for _ in read_log(sys.argv[2], problems=LogProblems(), strict=True):
            pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{n:,} exchanges; medians of {ROUNDS} rounds; microseconds of CPU for each")
    with tempfile.TemporaryDirectory(prefix="openwheel-") as folder:
        for name, make in (("requests", exchange), ("pairs", pair), ("spans", span)):
            rng = random.Random(0)
            path = Path(folder) / f"{name}.jsonl"
            with path.open("w") as file:
                for i in range(n):
                    file.write(json.dumps(make(rng, i)) + "\n")
            read, floor = cpu_of(path)
            size = path.stat().st_size / n
            print(
                f"{name:>9}: read {read:5.1f}, decoded {floor:4.1f}, ratio {read / floor:4.1f}; "
                f"{memory_of(path):4.0f} MB at most, {size:,.0f} bytes a line",
                flush=True,
            )
            path.unlink()


if __name__ == "__main__":
    main()
