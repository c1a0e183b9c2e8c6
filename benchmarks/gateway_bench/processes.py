"""Processes of the benchmark: starting and stopping them, and what the system says they cost."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]

_STOP_S = 60.0
_START_S = 180.0  # LiteLLM takes half a minute where the disk is cold


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, its output in ``log``, for as long as the context lasts; SIGTERM ends it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            print(f"{command[0]} did not stop within {_STOP_S:.0f} s: killed", file=sys.stderr)
            process.kill()
            process.wait()


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of this package as a process of its own that talks over standard output."""
    with subprocess.Popen(
        [sys.executable, "-m", f"gateway_bench.{name}", *arguments],
        cwd=BENCHMARKS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def line_from(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process of `module` prints.

    Raises:
        SystemExit: It ended instead; what it had to say is on standard error.
    """
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise SystemExit(f"{process.args!r} ended with code {process.wait()}")
    return line.strip()


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def ask_once(port: int, body: bytes, timeout: float = 30.0) -> bytes:
    """Send one chat completion request on a connection of its own and return the whole answer.

    Raises:
        OSError: Nobody answers there yet, or whoever does broke off.
        SystemExit: The answer is an error.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(
            "POST",
            "/v1/chat/completions",
            body,
            {"content-type": "application/json", "authorization": "Bearer none"},
        )
        response = connection.getresponse()
        answer = response.read()
    if response.status != 200:
        raise SystemExit(f"port {port} answered {response.status}: {answer[:500]!r}")
    return answer


def release(port: int) -> int:
    """Have the teacher end the streams it holds; return how many there were."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)
    with contextlib.closing(connection):
        connection.request("POST", "/release")
        return int(connection.getresponse().read())


def decided(port: int) -> tuple[float, int]:
    """Return what decisions have taken in a gateway of `taken_apart`: CPU seconds, and how many."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)
    with contextlib.closing(connection):
        connection.request("GET", "/decided")
        found = json.loads(connection.getresponse().read())
    return found["seconds"], found["count"]


def wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a process listens.

    Raises:
        SystemExit: It ended, or does not listen in time; its log says why.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not listen; its log ends:\n{log.read_text()[-3000:]}")


def tree(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for parent in found:  # grows as it goes
        found += parents.get(parent, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, its threads and its descendants, ended ones included.

    A living process's CPU clock counts in nanoseconds and includes threads that have ended (the
    sum of ``/proc/PID/task/*/schedstat`` does not). Its identifier is made of the process id as
    ``clock_getcpuclockid(3)`` does. Children that ended and were waited for are in
    ``/proc/PID/stat``, in ticks of 10 ms.
    """
    total = 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    for one in tree(pid):
        with contextlib.suppress(OSError):  # it ended meanwhile
            total += time.clock_gettime((~one << 3) | 2)
        if fields := _stat(one):
            total += (int(fields[13]) + int(fields[14])) / ticks
    return total


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants, in MB (2**20 bytes).

    Pages that several of them share count once for each.
    """
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total / 1024


def descriptors(pid: int) -> int:
    """Return how many files and sockets a process and its descendants have open."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            total += len(os.listdir(f"/proc/{one}/fd"))
    return total


def raise_descriptor_limit() -> int:
    """Let this process, and those it starts, open as many files as allowed; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the state on, none if the process ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
