"""What an edge costs, and how fast it sends what it has kept.

    python benchmarks/edge_cost.py [--requests N]

The factory desk of examples/ is learned, its students bundled, and a gateway and an edge run as
processes on loopback. N requests that the student answers are sent one after the other with the
gateway there, and as many with the gateway stopped; then it is started again, and it is measured
how long the edge takes until all of it is upstream. Capture is strict, as always on an edge: each
answer waits for its commit.
"""

import argparse
import contextlib
import gzip
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from shared import about

SAMPLE = Path(__file__).resolve().parents[1] / "examples" / "factory-desk.jsonl.gz"
LEARNED = 4_000
IDLE_S = 30.0
SECRET = "OPENWHEEL_EDGE_KEY"
SPOOL = ("edge.db", "edge.db-wal", "edge.db-shm")


class Part(NamedTuple):
    """What a part of the traffic took: seconds of each answer of a student, and CPU of the edge."""

    seconds: list[float]
    cpu_ms: float
    others: int


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=3_000)
    requests = options.parse_args().requests
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), requests)
    print(about("edge_cost.py"))


def measure(folder: Path, requests: int) -> None:
    rows = [json.loads(line) for line in gzip.decompress(SAMPLE.read_bytes()).splitlines()]
    write(folder / "past.jsonl.gz", rows[:LEARNED])
    write(folder / "rest.jsonl.gz", rows)
    run(folder, "learn", "past.jsonl.gz", "--rungs", "linear")
    run(folder, "bundle", "--new-key", "signing.pem")
    run(folder, "bundle", "--key", "signing.pem", "--out", "desk.owb")
    secret = run(folder, "keys", "create", "line", "--edge").strip()
    home = folder / "line"
    home.mkdir()
    print(f"bundle: {(folder / 'desk.owb').stat().st_size:,} bytes")
    texts = [row["request"] for row in rows[LEARNED:]]
    up = ("up", "--teacher", "replay:rest.jsonl.gz", "--no-turns", "--port")
    with contextlib.ExitStack() as upstream:
        port, _ = upstream.enter_context(running(folder, (*up, "0"), ""))
        edge = (
            *("edge", "../desk.owb", "--upstream", f"http://127.0.0.1:{port}/v1", "--port", "0"),
            *("--public-key", "../signing.pem.pub"),
        )
        started = time.perf_counter()
        with running(home, edge, secret) as (own, process):
            print(f"start: {time.perf_counter() - started:.2f} s until it accepts requests")
            send(own, process, texts, 200)  # what is done once
            tell("link up", send(own, process, texts, requests))
            wait_sent(own)
            before = process.cpu_times()
            time.sleep(IDLE_S)
            print(f"idle, link up: {cpu(process, before) / IDLE_S:.3%} of a core")
            upstream.close()
            tell("link down", send(own, process, texts, requests))
            kept = health(own)
            size = sum((home / name).stat().st_size for name in SPOOL if (home / name).exists())
            print(
                f"kept: {kept['exchanges']:,} exchanges and {kept['waiting']:,} requests, "
                f"{size:,} bytes on the disk"
            )
            print(f"memory: {process.memory_info().rss / 1e6:.0f} MB resident")
            with running(folder, (*up, str(port)), ""):
                while health(own)["link"] != "up":
                    time.sleep(0.01)
                seconds = wait_sent(own)
            print(
                f"sent: {kept['exchanges'] + kept['waiting']:,} in {seconds:.2f} s after the first "
                f"look that found the link up"
            )


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "openwheel", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def running(
    folder: Path, arguments: tuple[str, ...], secret: str
) -> Iterator[tuple[int, psutil.Process]]:
    """Run a gateway or an edge; yield its port and its process."""
    with (folder / f"{arguments[0]}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "openwheel", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", SECRET: secret},
        )
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+:(\d+)", process.stdout.readline())
        if found is None:
            raise SystemExit(f"{arguments[0]} did not start: {(folder / log.name).read_text()}")
        yield int(found[1]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def send(port: int, process: psutil.Process, asked: list[dict[str, Any]], requests: int) -> Part:
    """Send requests one after the other until students have answered so many."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds, others, place = list[float](), 0, 0
    before = process.cpu_times()
    while len(seconds) < requests:
        body = json.dumps(asked[place % len(asked)])
        place += 1
        started = time.perf_counter()
        connection.request(
            "POST", "/v1/chat/completions", body, {"content-type": "application/json"}
        )
        response = connection.getresponse()
        response.read()
        if response.headers.get("x-openwheel-source") == "student":
            seconds.append(time.perf_counter() - started)
        else:
            others += 1
    connection.close()
    return Part(seconds, cpu(process, before) * 1000 / place, others)


def cpu(process: psutil.Process, before: Any) -> float:
    now = process.cpu_times()
    return float(now.user + now.system - before.user - before.system)


def tell(what: str, part: Part) -> None:
    ordered = sorted(part.seconds)
    print(
        f"{what}: {len(ordered):,} answers of the student ({part.others:,} requests besides), "
        f"median {statistics.median(ordered) * 1000:.2f} ms, "
        f"99 of 100 within {ordered[int(len(ordered) * 0.99)] * 1000:.2f} ms; "
        f"{part.cpu_ms:.2f} ms of CPU a request"
    )


def health(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        report: dict[str, Any] = json.load(connection.getresponse())["edge"]
    return report


def wait_sent(port: int) -> float:
    started = time.perf_counter()
    while (found := health(port))["exchanges"] + found["waiting"]:
        time.sleep(0.02)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
