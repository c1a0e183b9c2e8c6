"""The main job on the bundled samples, as ``make demo`` runs it.

Starts ``openwheel up`` on loopback with a recorded teacher, sends it the sample traffic over HTTP
in the order of arrival, lets the loop turn by itself, and prints what happened. The sample is
synthetic (see README.md beside this file), and the teacher is a recording that answers at once.
"""

import argparse
import asyncio
import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np

from openwheel.gate import clopper_pearson
from openwheel.loop.learner.schedule import next_turn
from openwheel.loop.registry import Registry
from openwheel.store import Store
from openwheel.tasks import canonical_answer
from openwheel.wire import read_reply

SAMPLES = [
    Path(__file__).with_name(f"{name}.jsonl.gz") for name in ("factory-desk", "factory-calls")
]
AT_ONCE = 8
WAIT_FOR_LEARNER = 60.0


class Sent(NamedTuple):
    """What came back for one request of the sample."""

    source: str
    task: str
    same: bool
    recorded_ms: float
    server_ms: float
    prompt_tokens: int
    completion_tokens: int


def main() -> None:
    """Run the demo."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("demo-output"))
    options.add_argument("--price-in", type=float, default=2.0, help="dollars a million tokens")
    options.add_argument("--price-out", type=float, default=8.0, help="dollars a million tokens")
    chosen = options.parse_args()
    out = _new_folder(chosen.out)
    asyncio.run(_demo(out, out / "openwheel.db", chosen.price_in, chosen.price_out))


def _new_folder(wanted: Path) -> Path:
    """Make the folder, with a number behind its name if an earlier demo took it."""
    out, number = wanted, 1
    while out.exists():
        number += 1
        out = wanted.with_name(f"{wanted.name}-{number}")
    out.mkdir(parents=True)
    return out


async def _demo(out: Path, database: Path, price_in: float, price_out: float) -> None:
    lines = [line for path in SAMPLES for line in gzip.decompress(path.read_bytes()).splitlines()]
    rows = sorted(map(json.loads, lines), key=lambda row: str(row["time"]))
    calls = sum("tools" in row["request"] for row in rows)
    print(
        f"1. Sample: {len(rows):,} exchanges of a factory maintenance desk (synthetic), {calls:,} "
        "of them with its assistant, which calls tools."
    )
    sample = out / "sample.jsonl.gz"
    with gzip.open(sample, "wt", encoding="utf-8", compresslevel=1) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    async with _gateway(database, sample) as base:
        print(f"2. Gateway on {base}, teacher: the sample's recorded answers.")
        print("3. Sending the traffic over HTTP; the loop turns by itself:")
        started = time.monotonic()
        with Store.open(database) as store:
            sent = await _send(base, rows, Registry(store))
        print(f"   all sent in {time.monotonic() - started:.0f} s")
    _summary(sent, database, price_in, price_out)
    _keep(out, database)


@asynccontextmanager
async def _gateway(database: Path, sample: Path) -> AsyncIterator[str]:
    """Run ``openwheel up`` until the block ends; yield its base URL."""
    # fmt: off
    command = [
        sys.executable, "-m", "openwheel", "up", "--teacher", f"replay:{sample}",
        "--db", str(database), "--port", "0",
    ]
    # fmt: on
    log = database.with_suffix(".log").open("w")
    with log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        try:
            line = await asyncio.to_thread(process.stdout.readline)
            found = re.search(r"http://\S+", line)
            if found is None:
                process.wait()
                sys.exit(f"the gateway did not start; its log is {log.name}")
            yield found.group()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            process.stdout.close()


async def _send(base: str, rows: list[dict[str, Any]], registry: Registry) -> list[Sent]:
    """Send the sample in order, a few requests at a time; say how it goes."""
    sent: list[Sent] = []
    lately: list[Sent] = []
    told = 0
    address = urlsplit(base)
    connections = [
        http.client.HTTPConnection(address.hostname or "", address.port) for _ in range(AT_ONCE)
    ]
    path = f"{address.path}/chat/completions"
    for start in range(0, len(rows), AT_ONCE):
        batch = zip(connections, rows[start : start + AT_ONCE], strict=False)
        lately += await asyncio.gather(
            *[asyncio.to_thread(_ask, connection, path, row) for connection, row in batch]
        )
        told = await _until_learned(registry, told)
        if len(lately) >= 500:
            sent += lately
            share = sum(s.source == "student" for s in lately) / len(lately)
            print(f"   {len(sent):>5,} sent; of the last {len(lately)}, students {share:.0%}")
            lately = []
    for connection in connections:
        connection.close()
    return sent + lately


def _ask(connection: http.client.HTTPConnection, path: str, row: dict[str, Any]) -> Sent:
    started = time.perf_counter()
    headers = {"content-type": "application/json"}
    connection.request("POST", path, json.dumps(row["request"]), headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        sys.exit(f"the gateway answered {response.status}: {body.decode(errors='replace')}")
    recorded = json.dumps(row["response"]).encode()
    answer, expected = (
        canonical_answer(read_reply(said).answer, "text") for said in (body, recorded)
    )
    usage = row["response"]["usage"]
    return Sent(
        source=response.headers["x-openwheel-source"],
        task=response.headers.get("x-openwheel-task", ""),
        same=answer == expected,
        recorded_ms=row["latency_ms"],
        server_ms=(time.perf_counter() - started) * 1e3,
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
    )


async def _until_learned(registry: Registry, told: int) -> int:
    """Wait for the turn that is due, print what turns did since, return how many there were.

    Real traffic leaves a learner minutes between as many requests.
    """
    deadline = time.monotonic() + WAIT_FOR_LEARNER
    while time.monotonic() < deadline:
        turns = registry.turns()
        shadowing = bool(registry.candidates(state="shadow"))
        due = next_turn(turns[-1].looked_at if turns else 0, shadowing=shadowing)
        if due > registry.store.last_seq():
            break
        await asyncio.sleep(0.2)
    for before, turn in zip([None, *turns][told:], turns[told:], strict=False):
        waiting = [(e.task, e.kind) for e in before.events] if before else []
        for event in turn.events:
            new = event.kind == "shadowing" and (event.task, event.kind) not in waiting
            if new or event.kind in {"promoted", "demoted"}:
                print(f"      turn: {event.task} {event.kind}. {event.reason}")
            if event.kind == "promoted":  # every gateway picks it up within this time
                await asyncio.sleep(2)
    return len(turns)


def _summary(sent: list[Sent], database: Path, price_in: float, price_out: float) -> None:
    by_student = [s for s in sent if s.source == "student"]
    wrong = sum(not s.same for s in by_student)
    low, high = clopper_pearson(wrong, len(by_student))
    audits = _audits(database)
    saved = len(by_student) - audits
    dollars = sum(s.prompt_tokens * price_in + s.completion_tokens * price_out for s in by_student)
    dollars *= saved / max(len(by_student), 1) / 1e6
    total = sum(s.prompt_tokens * price_in + s.completion_tokens * price_out for s in sent) / 1e6
    print("\n4. What happened")
    _openwheel("tasks", "--db", str(database))
    print()
    _openwheel("certificates", "--db", str(database))
    print(f"\n   Requests {len(sent):,}; students answered {len(by_student):,}", end="")
    print(f" ({len(by_student) / len(sent):.1%} of all, from nothing).")
    if not by_student:
        return
    print(
        f"   They disagreed with the recorded teacher on {wrong:,}: "
        f"{wrong / len(by_student):.2%}, 95% interval {low:.2%} to {high:.2%}."
    )
    print(
        f"   Teacher calls saved, net of {audits:,} audits: {saved:,}. At ${price_in:g} and "
        f"${price_out:g} a million tokens in and out (an assumption), ${dollars:.2f} of "
        f"${total:.2f}."
    )
    student_ms = float(np.median([s.server_ms for s in by_student]))
    recorded_ms = float(np.median([s.recorded_ms for s in by_student]))
    print(
        f"   Median latency of those requests: student {student_ms:.1f} ms over HTTP, measured "
        f"here with {AT_ONCE} at once; teacher {recorded_ms:.0f} ms, as the sample says."
    )


def _audits(database: Path) -> int:
    with Store.open(database, create=False) as store:
        return sum(
            exchange.student_answer is not None and exchange.source == "teacher"
            for _, exchange in store.exchanges()
        )


def _keep(out: Path, database: Path) -> None:
    """Write the report and the certificates, and say what to do next."""
    print("\n5. A report of the same log, learned offline in one pass:", flush=True)
    _openwheel(
        "learn",
        str(out / "sample.jsonl.gz"),
        "--db",
        str(out / "offline.db"),
        "--report",
        str(out / "report.html"),
    )
    with Store.open(database, create=False) as store:
        for certificate in Registry(store).certificates():
            path = out / f"certificate-{certificate.id[:12]}.json"
            path.write_bytes(msgspec.json.format(msgspec.json.encode(certificate)))
            print(f"   certificate: {path}")
    print(f"   report:      {out / 'report.html'}")
    command = Path(sys.executable).with_name("openwheel")
    print(
        f"\n6. On your own log (docs/logs.md says what it may look like):\n"
        f"   {command} learn YOUR_LOG.jsonl --report report.html\n"
        f"   {command} up --teacher https://your-endpoint/v1 --teacher-key-env YOUR_KEY_VARIABLE"
    )


def _openwheel(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "openwheel", *arguments], check=True)


if __name__ == "__main__":
    main()
