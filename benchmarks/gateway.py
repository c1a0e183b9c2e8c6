"""What the gateway costs beside other proxies, on loopback, capture to SQLite on.

    python benchmarks/gateway.py                 CPU a request of every side, one table
    python benchmarks/gateway.py --install       install LiteLLM and the peers first
    python benchmarks/gateway.py --memory        memory over 1,000,000 requests
    python benchmarks/gateway.py --idle          10,000 streams that stay silent
    python benchmarks/gateway.py --start         from start to the first answer
    python benchmarks/gateway.py --capture       from an answer's end to its row in the store

CPU time is the operating system's, of all processes of a side. The teacher is one small process
for all of them and not counted. Linux only. nginx is used if it is installed (`apt-get install
nginx-light`); LiteLLM and the peers each have an environment of their own.
Exit code 1 if an answer is an error, or a silent stream is not held, ended whole and captured.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from gateway_bench import sides
from gateway_bench.capture import measure_capture
from gateway_bench.compare import Options, compare
from gateway_bench.idle import measure_idle
from gateway_bench.memory import measure_memory
from gateway_bench.processes import raise_descriptor_limit
from gateway_bench.start import measure_start
from gateway_bench.table import print_machine

ENVIRONMENTS = Path(__file__).resolve().parents[1] / ".venv"
PEERS = ["starlette", "uvicorn", "uvloop", "httptools", "httpx", "aiohttp"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--requests", type=int, default=2_000, help="a round and side (LiteLLM: a twentieth)")
    add("--rounds", type=int, default=5)
    add("--connections", type=int, default=16)
    add("--litellm", type=Path, default=ENVIRONMENTS / "bench-litellm", help="an environment")
    add("--peers", type=Path, default=ENVIRONMENTS / "bench-peers", help="an environment")
    add("--install", action="store_true", help="make the two environments if they are not there")
    add("--up", default="", metavar="OPTIONS", help="more options of `openwheel up`, in one word")
    add("--memory", type=int, nargs="?", const=1_000_000, metavar="REQUESTS")
    add("--idle", type=int, nargs="?", const=10_000, metavar="STREAMS")
    add("--start", action="store_true")
    add("--capture", type=int, nargs="?", const=300, metavar="REQUESTS_A_SECOND")
    chosen = parser.parse_args()
    if chosen.install:
        for venv, packages in ((chosen.litellm, ["litellm[proxy]"]), (chosen.peers, PEERS)):
            if not venv.exists():
                sides.install(venv, *packages)
    raise_descriptor_limit()
    print_machine()
    whole = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.start:
            measure_start(folder, chosen.up)
        if chosen.capture is not None:
            measure_capture(folder, chosen.capture, chosen.up)
        if chosen.idle is not None:
            whole = measure_idle(folder, chosen.idle, chosen.up)
        if chosen.memory is not None:
            measure_memory(folder, chosen.memory, 2 * chosen.connections, chosen.up)
        if not (chosen.start or chosen.capture or chosen.idle or chosen.memory):
            python = chosen.peers / "bin" / "python"
            rounds, connections = chosen.rounds, chosen.connections
            compare(
                Options(chosen.requests, rounds, connections, chosen.litellm, python, chosen.up),
                folder,
            )
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
