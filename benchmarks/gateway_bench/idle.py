"""Many streams whose teacher has fallen silent: are they held, what do they cost, do they end."""

import contextlib
import json
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

from gateway_bench import sides
from gateway_bench.bodies import Template, templates
from gateway_bench.processes import (
    ask_once,
    cpu_seconds,
    descriptors,
    line_from,
    module,
    raise_descriptor_limit,
    release,
    rss_mb,
    tree,
)
from gateway_bench.table import print_table, quantiles
from gateway_bench.teacher import SILENT

_IDLE_S = 10.0
_SETTLE_S = 3.0
_ASKED = 100
_SPARE = 300
_PER_STREAM = 2  # descriptors: the client's connection and the teacher's


def measure_idle(folder: Path, wanted: int, extra: str) -> bool:
    """Hold ``wanted`` silent streams, measure, let the teacher end them, and measure again.

    Returns whether every stream was held, ended whole and was captured.
    """
    limit = raise_descriptor_limit()
    workers = 1
    if "--workers" in extra:
        workers = int(extra.partition("--workers")[2].strip(" =").split()[0])
    elif sides.up_has("--workers"):
        workers, extra = 2, f"{extra} --workers 2"
    # The workers do not share connections out evenly, so a part of the room stays free.
    room = int((limit - _SPARE) / _PER_STREAM * workers * (1.0 if workers == 1 else 0.8))
    streams = min(wanted, room, limit - _SPARE)
    if streams < wanted:
        print(
            f"{streams:,} streams, not {wanted:,}: {limit:,} descriptors a process, {workers} "
            f"worker(s), {_PER_STREAM} a stream.\n"
        )
    route, _ = templates(folder, 100)
    silent = Template(route[0].before.replace(b"Ticket", SILENT.encode(), 1), route[0].after)
    database = folder / "idle.db"
    with (
        module("teacher") as teacher,
        contextlib.ExitStack() as stack,
    ):
        port = int(line_from(teacher))
        side = stack.enter_context(sides.openwheel(folder, port, database, extra=extra))
        for i in range(200):  # warm
            ask_once(side.port, route[i % len(route)].body(i))
        time.sleep(_SETTLE_S)
        before, open_before = rss_mb(side.pid), descriptors(side.pid)
        with module("hold", str(side.port), str(streams)) as holder:
            _tell(holder, silent)
            held: dict[str, Any] = json.loads(line_from(holder))
            time.sleep(_SETTLE_S)
            during, open_during = rss_mb(side.pid), descriptors(side.pid)
            cpu = cpu_seconds(side.pid)
            time.sleep(_IDLE_S)
            cpu = cpu_seconds(side.pid) - cpu
            asked = [_timed(side.port, route[i % len(route)].body(i)) for i in range(_ASKED)]
            released = release(port)
            ended: dict[str, Any] = json.loads(line_from(holder))
        time.sleep(_SETTLE_S)
        after, open_after = rss_mb(side.pid), descriptors(side.pid)
        processes = len(tree(side.pid))
        stack.close()  # it writes what is left to write
        with contextlib.closing(sqlite3.connect(database)) as store:
            (rows,) = store.execute(
                "SELECT count(*) FROM exchanges WHERE instr(request, ?) > 0", (SILENT.encode(),)
            ).fetchone()
    median, at_99, _ = quantiles(asked)
    found = {
        "processes of the gateway, workers": f"{processes}, {workers}",
        "streams held, each with its first chunk": f"{held['held']:,} of {streams:,}",
        "seconds to open them": f"{held['seconds']:.1f}",
        "RSS before, holding, after": f"{before:.0f} MB, {during:.0f} MB, {after:.0f} MB",
        "RSS a stream": f"{1024 * (during - before) / max(1, held['held']):.1f} KB",
        "descriptors before, holding, after": f"{open_before:,}, {open_during:,}, {open_after:,}",
        f"CPU while idle for {_IDLE_S:.0f} s": f"{1000 * cpu:.0f} ms",
        f"a new request meanwhile, p50 and p99 of {_ASKED}": f"{median:.1f} ms, {at_99:.1f} ms",
        "streams the teacher ended": f"{released:,}",
        "streams that ended whole at the client": f"{ended['ended']:,} of {streams:,}",
        "of them captured": f"{rows:,}",
    }
    print_table(["what", "value"], [{"what": k, "value": v} for k, v in found.items()])
    problems = {*held["problems"], *ended["problems"]}
    for problem in problems:
        print(f"- problem: {problem}")
    print()
    return not problems and held["held"] == ended["ended"] == rows == streams


def _tell(holder: "subprocess.Popen[str]", template: Template) -> None:
    assert holder.stdin is not None
    for part in template:
        holder.stdin.write(json.dumps(part.decode()) + "\n")
    holder.stdin.flush()


def _timed(port: int, body: bytes) -> float:
    began = time.perf_counter()
    ask_once(port, body)
    return time.perf_counter() - began
