"""Time from the start of ``openwheel up`` to its first answer."""

import contextlib
import statistics
import time
from pathlib import Path

from gateway_bench import sides
from gateway_bench.bodies import templates
from gateway_bench.processes import ask_once, cpu_seconds, free_port, line_from, module, running
from gateway_bench.student import learn
from gateway_bench.table import print_table

_TIMES = 5
_LOOK_EVERY_S = 0.005
_GIVE_UP_S = 120.0


def measure_start(folder: Path, extra: str) -> None:
    """Start the gateway several times on an empty store and on one with a student."""
    body = templates(folder, 100)[0][0].body(1)
    learned = learn(folder / "start.db")
    rows = []
    with module("teacher") as process:
        teacher = int(line_from(process))
        for name, database in (
            ("an empty store", None),
            ("a promoted linear student", learned),
        ):
            took = [
                _start(folder, teacher, database or folder / f"empty-{i}.db", body, extra)
                for i in range(_TIMES)
            ]
            seconds, cpu = zip(*took, strict=True)
            rows.append(
                {
                    "`openwheel up` on": name,
                    "seconds to the first answer": f"{statistics.median(seconds):.2f}",
                    "from - to": f"{min(seconds):.2f} - {max(seconds):.2f}",
                    "CPU s": f"{statistics.median(cpu):.2f}",
                    "n": _TIMES,
                }
            )
    print_table(list(rows[0]), rows)
    print()


def _start(
    folder: Path, teacher: int, database: Path, body: bytes, extra: str
) -> tuple[float, float]:
    """Return the seconds and the CPU seconds that one start took."""
    port = free_port()
    began = time.perf_counter()
    log = folder / "start.log"
    with running(sides.up_command(teacher, database, port, extra), log) as process:
        while process.poll() is None and time.perf_counter() - began < _GIVE_UP_S:
            with contextlib.suppress(OSError):
                ask_once(port, body)
                return time.perf_counter() - began, cpu_seconds(process.pid)
            time.sleep(_LOOK_EVERY_S)
    raise SystemExit(f"the gateway did not answer; its log ends:\n{log.read_text()[-3000:]}")
