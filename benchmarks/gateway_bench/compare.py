"""The comparison: CPU a request of every side, by path, in rounds that interleave the sides."""

import contextlib
import sqlite3
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from gateway_bench import sides, student
from gateway_bench.bodies import Template, request, requests, streamed, templates
from gateway_bench.connection import Load, send_all
from gateway_bench.processes import cpu_seconds, decided, line_from, module
from gateway_bench.sides import Side
from gateway_bench.table import print_table
from gateway_bench.teacher import CHUNKS

FORWARD = "forward"
FORWARD_STREAMED = f"forward, streamed in {CHUNKS} chunks"
STUDENT = "student answers"
STUDENT_STREAMED = "student answers, streamed"
REAL = "Openwheel, a real student"
TIMED = "Openwheel, a real student with a clock around it"
FREE = "Openwheel, a student that costs nothing"
ALONE = "a real student alone, in a process of its own"
INSIDE = "- of it the student, by that clock"
REST = "- the rest: the gateway"

_COLUMNS = (
    "path",
    "side",
    "CPU ms a request",
    "rounds, from - to",
    "µs a chunk",
    "times nginx's",
    "LiteLLM's is times this",
    "p50 ms",
    "p99 ms",
    "n",
)
_STREAMED_SHARE = 0.1  # a stream takes 0.4 s, and costs as much as many requests
_WARM_SHARE = 0.1
_SETTLE_S = 0.25  # so that what a request leaves to be written afterwards is counted as its own


class Options(NamedTuple):
    """How to run the comparison.

    Attributes:
        requests: A round and a side, of the path that is not streamed.
        litellm: An environment with LiteLLM, or one that does not exist.
        python: An interpreter that has Starlette, httpx and aiohttp, or one that does not exist.
        up: More options of ``openwheel up``.
    """

    requests: int
    rounds: int
    connections: int
    litellm: Path
    python: Path
    up: str


class Run(NamedTuple):
    """One line of the table: a side on a path."""

    path: str
    side: Side
    requests: int


class Sample(NamedTuple):
    """What one round of a run gave.

    Attributes:
        ms: CPU a request.
        student_ms: Of it the student's, where there is a clock around it.
    """

    ms: float
    load: Load
    student_ms: float = 0.0


def compare(options: Options, folder: Path) -> None:
    """Run every side and print the table."""
    bodies, _ = templates(folder, 2 * options.requests + 1_000)
    learned = student.learn(folder / "student.db")
    again = student.copy(learned, folder / "timed.db")
    candidates = [bodies[i % len(bodies)].body(i) for i in range(int(1.5 * options.requests) + 200)]
    answers = student.decided(learned, candidates).answers
    answered = [body for body, answer in zip(candidates, answers, strict=True) if answer]
    said = student.agreeing(learned, bodies)
    with contextlib.ExitStack() as stack:
        teacher = int(line_from(stack.enter_context(module("teacher"))))
        agrees = int(line_from(stack.enter_context(module("teacher", str(said)))))
        forwarding = [stack.enter_context(it) for it in _forwarding(folder, teacher, options)]
        students = [
            stack.enter_context(it)
            for it in (
                sides.openwheel(folder, agrees, learned, name=REAL, extra=options.up),
                sides.taken_apart(folder, agrees, again, "timed", TIMED),
                sides.taken_apart(folder, teacher, folder / "free.db", "free", FREE),
            )
        ]
        runs = [
            Run(path, side, max(options.connections, round(share * side.share * options.requests)))
            for path, share, who in (
                (FORWARD, 1.0, forwarding),
                (FORWARD_STREAMED, _STREAMED_SHARE, forwarding),
                (STUDENT, 1.0, students),
                (STUDENT_STREAMED, 1.0, students),
            )
            for side in who
        ]
        samples: dict[Run, list[Sample]] = {run: [] for run in runs}
        alone: list[float] = []
        for number in range(options.rounds + 1):
            for run in runs:
                count = run.requests if number else max(1, round(_WARM_SHARE * run.requests))
                sent = _sent(run, count, bodies, answered, number)
                sample = _measured(run, sent, options.connections)
                if number:  # the first round warms up
                    samples[run].append(sample)
            if number:
                alone.append(student.decided(learned, answered[: options.requests]).ms)
            print(f"round {number} of {options.rounds}", file=sys.stderr)
    _print(options, samples, alone)
    _print_captured(folder)


def _forwarding(
    folder: Path, teacher: int, options: Options
) -> Iterator[contextlib.AbstractContextManager[Side]]:
    """Yield the sides that forward, the floor first; say which are left out."""
    if sides.nginx_command():
        yield sides.nginx(folder, teacher)
    else:
        print("nginx: not installed, left out\n")
    yield sides.openwheel(folder, teacher, folder / "forward.db", extra=options.up)
    for client in ("aiohttp", "httpx"):
        python = str(options.python)
        if options.python.exists() and sides.versions(python, client):
            yield sides.peer(folder, teacher, python, client)
        else:
            print(f"Starlette and {client}: not installed in {python}, left out\n")
    if (options.litellm / "bin" / "litellm").exists():
        yield sides.litellm(folder, teacher, options.litellm)
    else:
        print(f"LiteLLM: not installed in {options.litellm}, left out\n")


def _sent(
    run: Run, count: int, bodies: Sequence[Template], answered: Sequence[bytes], number: int
) -> list[bytes]:
    """Return a round's requests; those that are forwarded have never been sent before."""
    stream = run.path in {FORWARD_STREAMED, STUDENT_STREAMED}
    if run.path in {FORWARD, FORWARD_STREAMED}:
        return list(requests(bodies, count, start=1_000_000 * (number + 1), stream=stream))
    chosen = [answered[i % len(answered)] for i in range(count)]
    return [request(streamed(body) if stream else body) for body in chosen]


def _measured(run: Run, sent: list[bytes], connections: int) -> Sample:
    """Send a round's requests and return what they cost the side."""
    events = {FORWARD_STREAMED: CHUNKS, STUDENT_STREAMED: 2}.get(run.path, 0)
    clock = decided(run.side.port) if run.side.name == TIMED else (0.0, 0)
    before = cpu_seconds(run.side.pid)
    load = uvloop.run(send_all(run.side.port, sent, connections, events=events))
    time.sleep(_SETTLE_S)
    seconds = cpu_seconds(run.side.pid) - before
    if run.path in {STUDENT, STUDENT_STREAMED} and load.sources["student"] < 0.99 * len(sent):
        raise SystemExit(f"{run.side.name}: of {len(sent)} requests, {load.sources} answered")
    if run.side.name != TIMED:
        return Sample(1000 * seconds / len(sent), load)
    took, count = (now - then for now, then in zip(decided(run.side.port), clock, strict=True))
    return Sample(1000 * seconds / len(sent), load, 1000 * took / count)


def _print(options: Options, samples: dict[Run, list[Sample]], alone: list[float]) -> None:
    median = {run: statistics.median(s.ms for s in found) for run, found in samples.items()}
    whole = {run.side.name: ms for run, ms in median.items() if run.path == FORWARD}
    streams = {run.side.name: ms for run, ms in median.items() if run.path == FORWARD_STREAMED}
    rows = []
    for run, found in samples.items():
        yardstick = streams if run.path == FORWARD_STREAMED else whole
        rows.append(
            _row(run.path, run.side.name, [s.ms for s in found], yardstick)
            | _latency(found)
            | {"n": f"{run.requests * options.rounds:,}"}
        )
        if run.path == FORWARD_STREAMED:
            chunk = (median[run] - whole[run.side.name]) / CHUNKS
            rows[-1]["µs a chunk"] = f"{1000 * chunk:.1f}"
        if run.side.name == TIMED:
            rows.append(_row(run.path, INSIDE, [s.student_ms for s in found], yardstick))
            rows.append(_row(run.path, REST, [s.ms - s.student_ms for s in found], yardstick))
    rows.append(_row(STUDENT, ALONE, alone, whole))
    print_table(_COLUMNS, rows)
    pieces = {
        run.side.name: sum(s.load.reads for s in found) / sum(len(s.load.seconds) for s in found)
        for run, found in samples.items()
        if run.path == FORWARD_STREAMED
    }
    made_of = {run.side.name: run.side.versions for run in samples if run.side.versions}
    print()
    for name, versions in made_of.items():
        print(f"- {name}: {versions}")
    arrived = ", ".join(f"{name} {reads:.0f}" for name, reads in pieces.items())
    print(f"\nPieces a stream of {CHUNKS} chunks and its end arrived in: {arrived}.")
    print(
        f"\nMedian of {options.rounds} rounds that interleave the sides, {options.connections} "
        "connections, each sending its next request when its last is answered; latencies are under "
        "that load, client, teacher and side on the same machine. A student's answers are set "
        "against forwarding that is not streamed. The clock around a student counts the CPU of "
        "the thread that asks it."
    )


def _row(path: str, name: str, ms: list[float], yardstick: dict[str, float]) -> dict[str, str]:
    middle = statistics.median(ms)
    row = {
        "path": path,
        "side": name,
        "CPU ms a request": f"{middle:.3f}",
        "rounds, from - to": f"{min(ms):.3f} - {max(ms):.3f}",
    }
    for side, value in yardstick.items():
        if side.startswith("nginx"):
            row["times nginx's"] = f"{middle / value:.1f}"
        if side.startswith("LiteLLM"):
            row["LiteLLM's is times this"] = f"{value / middle:.1f}"
    return row


def _latency(found: list[Sample]) -> dict[str, str]:
    seconds = sorted(s for sample in found for s in sample.load.seconds)
    return {
        "p50 ms": f"{1000 * statistics.median(seconds):.2f}",
        "p99 ms": f"{1000 * seconds[int(0.99 * (len(seconds) - 1))]:.2f}",
    }


def _print_captured(folder: Path) -> None:
    """Say how many exchanges each gateway captured, by who answered."""
    print("\nCaptured, by who answered:")
    for name in ("forward", "student", "timed", "free"):
        with contextlib.closing(sqlite3.connect(folder / f"{name}.db")) as database:
            counts = database.execute(
                "SELECT source, count(*) FROM exchanges GROUP BY source ORDER BY source"
            ).fetchall()
        print(f"- {name}.db: " + ", ".join(f"{source} {count:,}" for source, count in counts))
