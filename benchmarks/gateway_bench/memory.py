"""Memory of the gateway while requests pass: students' answers and forwarded ones, captured."""

import sys
import time
from itertools import chain
from pathlib import Path

import uvloop

from gateway_bench import sides
from gateway_bench.bodies import requests, templates
from gateway_bench.connection import Load, send_all
from gateway_bench.processes import ask_once, line_from, module, rss_mb
from gateway_bench.student import agreeing, learn
from gateway_bench.table import print_table

_EVERY = 50_000
_TEXTS = 20_000


def measure_memory(folder: Path, count: int, connections: int, extra: str) -> None:
    """Send ``count`` distinct requests, one of three to the student, and print the memory."""
    route, others = templates(folder, _TEXTS)
    learned = learn(folder / "memory.db")
    every = min(_EVERY, max(1, count // 20))
    began = 0.0
    rows: list[dict[str, str]] = []
    memory: list[float] = []
    with (
        module("teacher", str(agreeing(learned, route))) as teacher,
        sides.openwheel(folder, int(line_from(teacher)), learned, extra=extra) as side,
    ):

        def take(sent: int) -> None:
            memory.append(rss_mb(side.pid))
            rows.append(
                {
                    "requests": f"{sent:,}",
                    "RSS MB": f"{memory[-1]:.1f}",
                    "seconds": f"{time.perf_counter() - began:.0f}",
                }
            )
            print(f"{sent:,} requests: {memory[-1]:.1f} MB", file=sys.stderr)

        def done(sent: int) -> None:
            if sent % every == 0:
                take(sent)

        third = count // 3
        mixed = chain.from_iterable(
            zip(
                requests(route, third),
                requests(others, third, start=count),
                requests(others, third, start=2 * count),
                strict=True,
            )
        )
        left = requests(others, count - 3 * third, start=3 * count)
        ask_once(side.port, route[0].body(4 * count))  # it listens before all is loaded
        began = time.perf_counter()
        take(0)
        load: Load = uvloop.run(send_all(side.port, chain(mixed, left), connections, done=done))
    print_table(["requests", "RSS MB", "seconds"], rows)
    answered = ", ".join(f"{who} {n:,}" for who, n in sorted(load.sources.items()))
    print(
        f"\n{count:,} distinct requests over {connections} connections in {load.wall:.0f} s, "
        f"answered by: {answered}. RSS after {every:,}: {memory[1]:.1f} MB, at the end: "
        f"{memory[-1]:.1f} MB, {memory[-1] / memory[1]:.3f} times.\n"
    )
