"""Time from the end of an answer to its row being readable in the store by another process."""

import asyncio
import contextlib
import json
import time
from pathlib import Path

import uvloop

from gateway_bench import sides
from gateway_bench.bodies import request, templates
from gateway_bench.connection import connect
from gateway_bench.processes import ask_once, line_from, module
from gateway_bench.student import agreeing, learn
from gateway_bench.table import print_table, quantiles
from gateway_bench.watch import LOOK_EVERY_S

_SECONDS = 20
_CONNECTIONS = 16


def measure_capture(folder: Path, rate: int, extra: str) -> None:
    """Send ``rate`` requests a second for a while, and see when each can be read in the store."""
    route, others = templates(folder, 3_000)
    learned = learn(folder / "capture.db")
    count = rate * _SECONDS
    pool = [(others if i % 3 == 2 else route)[i % 300] for i in range(count)]
    sent = {1_000_000 + i: it.body(1_000_000 + i) for i, it in enumerate(pool)}
    with (
        module("teacher", str(agreeing(learned, route))) as teacher,
        sides.openwheel(folder, int(line_from(teacher)), learned, extra=extra) as side,
    ):
        for i in range(50):  # warm
            ask_once(side.port, pool[i].body(i))
        time.sleep(1.0)
        with module("watch", str(learned), str(count)) as watch:
            line_from(watch)
            ended = uvloop.run(_send(side.port, sent, rate))
            readable = {int(n): at for n, at in json.loads(line_from(watch)).items()}
    waits = [readable[number] - at for number, at in ended.items() if number in readable]
    median, at_99, worst = quantiles(waits)
    rows = [
        {
            "requests a second": rate,
            "p50 ms": f"{median:.1f}",
            "p99 ms": f"{at_99:.1f}",
            "max ms": f"{worst:.1f}",
            "n": f"{len(waits):,}",
            "not seen within 30 s": len(ended) - len(waits),
        }
    ]
    print_table(list(rows[0]), rows)
    print(
        f"\nFrom the last byte of an answer at the client to its row at a process that looks "
        f"every {1000 * LOOK_EVERY_S:.0f} ms; two of three requests are of a task with a student.\n"
    )


async def _send(port: int, sent: dict[int, bytes], rate: int) -> dict[int, float]:
    """Send the bodies at a rate; return when each answer ended, on the monotonic clock."""
    ended: dict[int, float] = {}
    waiting = iter(enumerate(sent.items()))
    began = time.monotonic()

    async def client() -> None:
        connection = await connect(port)
        with contextlib.closing(connection):
            for i, (number, body) in waiting:
                await asyncio.sleep(max(0.0, began + i / rate - time.monotonic()))
                reply = await connection.ask(request(body))
                ended[number] = time.monotonic()
                if not reply.head.startswith(b"http/1.1 200"):
                    raise SystemExit(f"{reply.head!r} {reply.body[:500]!r}")

    await asyncio.gather(*(client() for _ in range(_CONNECTIONS)))
    return ended
