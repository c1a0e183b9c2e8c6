"""A line's terminal goes on through an outage, on the bundled sample.

Learns the first part of the factory desk's log, packs the certified students in a signed bundle,
and runs it as an edge on loopback, with a gateway upstream whose teacher is the recorded log. Then
the gateway is stopped, as a link that is cut looks from the terminal, and comes back. No key of any
API is needed; the sample is synthetic (see README.md beside this file).

    python examples/factory_edge.py
"""

import argparse
import contextlib
import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).with_name("factory-desk.jsonl.gz")
LEARNED = 4_000
SENT = 300
WAIT_S = 120.0

Row = dict[str, Any]


def main() -> None:
    """Run the example."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, help="where its files go; by default nowhere for long")
    chosen = options.parse_args()
    with contextlib.ExitStack() as stack:
        folder = chosen.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        _play(folder)


def _play(folder: Path) -> None:
    rows = [json.loads(line) for line in gzip.decompress(SAMPLE.read_bytes()).splitlines()]
    past, rest = rows[:LEARNED], iter(rows[LEARNED:])
    print(f"1. Upstream: {LEARNED:,} exchanges of a factory desk (synthetic) are learned.")
    _write(folder / "past.jsonl.gz", past)
    _openwheel(folder, "learn", "past.jsonl.gz", "--rungs", "exact,linear")
    print("2. The certified students are packed and signed, and the line gets a key:")
    _openwheel(folder, "bundle", "--new-key", "signing.pem")
    _openwheel(folder, "bundle", "--key", "signing.pem", "--out", "desk.owb", shown=True)
    secret = _openwheel(folder, "keys", "create", "line-7", "--edge").strip()
    (folder / "openwheel.toml").write_text('[edge]\nbundle = "desk.owb"\n')
    _write(folder / "rest.jsonl.gz", rows[LEARNED:])
    line = folder / "line-7"
    line.mkdir(exist_ok=True)
    with contextlib.ExitStack() as upstream:
        up = ["up", "--teacher", "replay:rest.jsonl.gz", "--no-turns", "--port"]
        port = upstream.enter_context(_running(folder, [*up, "0"]))
        edge = [
            *("edge", "../desk.owb", "--upstream", f"http://127.0.0.1:{port}/v1"),
            *("--public-key", "../signing.pem.pub", "--poll", "0.5", "--port", "0"),
        ]
        with _running(line, edge, secret) as terminal:
            print(f"3. The terminal's edge listens on http://127.0.0.1:{terminal}/v1.")
            _tell("   link up:  ", _send(terminal, rest))
            upstream.close()
            print("4. The link is cut.")
            _tell("   link down:", _send(terminal, rest))
            print(f"   kept on the terminal: {_kept(terminal)}")
            print("5. The link is back; what was kept is sent.")
            with _running(folder, [*up, str(port)]):
                _until_sent(terminal)
                print(f"   kept on the terminal: {_kept(terminal)}")
                _stored(folder)


def _write(path: Path, rows: list[Row]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _openwheel(folder: Path, *arguments: str, shown: bool = False) -> str:
    """Run a command; return what it printed."""
    command = [sys.executable, "-m", "openwheel", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"openwheel {arguments[0]} failed: {done.stderr}")
    if shown:
        print(f"   {done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def _running(folder: Path, arguments: list[str], secret: str = "") -> Iterator[int]:
    """Run ``openwheel up`` or ``edge`` until the block ends; yield its port."""
    with (folder / f"{arguments[0]}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "openwheel", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "OPENWHEEL_EDGE_KEY": secret},
        )
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+:(\d+)", process.stdout.readline())
        if found is None:
            sys.exit(f"openwheel {arguments[0]} did not start; its log is in {folder}")
        yield int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        process.stdout.close()


def _send(port: int, rows: Iterator[Row]) -> Counter[str]:
    """Send the next requests; what nobody answers is to be sent later."""
    found: Counter[str] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(SENT):
        headers = {"content-type": "application/json", "prefer": "respond-async"}
        body = json.dumps(next(rows)["request"])
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        response.read()
        source = response.headers.get("x-openwheel-source", "")
        found[source or {202: "queued"}.get(response.status, str(response.status))] += 1
    connection.close()
    return found


def _tell(what: str, found: Counter[str]) -> None:
    parts = ", ".join(f"{who} {number}" for who, number in sorted(found.items()))
    print(f"{what} {SENT} requests: {parts}")


def _health(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        health: dict[str, Any] = json.load(connection.getresponse())["edge"]
    return health


def _kept(port: int) -> str:
    health = _health(port)
    return (
        f"{health['exchanges']} exchanges, {health['waiting']} requests that are still to be asked"
    )


def _until_sent(port: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while (health := _health(port))["exchanges"] + health["waiting"]:
        if time.monotonic() > deadline:
            sys.exit("the terminal did not send what it kept; its log says why")
        time.sleep(0.2)


def _stored(folder: Path) -> None:
    """Say what is upstream: each exchange of the line once."""
    from openwheel.store import Store  # noqa: PLC0415 - the rest needs no library

    with Store.open(folder / "openwheel.db", create=False) as store:
        mine = [exchange for _, exchange in store.exchanges() if exchange.key == "line-7"]
    ids = {exchange.id for exchange in mine}
    audits = sum(exchange.student_answer is not None for exchange in mine)
    students = sum(exchange.source == "student" for exchange in mine)
    print(
        f"   stored upstream: {len(mine)} exchanges of line-7, {len(ids)} ids; {students} answers "
        f"of students, {audits} of them or of those held back audited by the teacher."
    )


if __name__ == "__main__":
    main()
