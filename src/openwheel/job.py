"""Work in a child process: the protocol between parent and child.

The child is ``python -m MODULE ORDER.json``. It tells events as JSON lines on its standard output,
`Failed` if it cannot go on; what libraries print goes to its log. It hears what else its parent has
to say as JSON lines on its standard input. These rules hold for all:

- Threads are set in the environment, before NumPy or torch is imported; see `thread_caps`.
- A child ends at once when its parent does, however that ends: its standard input closes.
- A signal that a terminal sends to all processes is for the parent, which ends its children.
- A child that takes longer than it may is killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Generic, TypeVar

import msgspec

from openwheel.errors import JobDiedError, ModelError, OpenwheelError

NICENESS: Final = 10
ORDER: Final = "order.json"
_STDIN: Final = 0
_KILLED: Final = -9

Event = TypeVar("Event")
Order = TypeVar("Order", bound=msgspec.Struct)


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The work cannot go on; the message says why."""

    message: str


class Job(Generic[Event]):
    """A child at work.

    Args:
        process: The child.
        events: Reads what it tells, `Failed` among it.
        log: What it prints.
        name: Its work, as a sentence begins.
        limit_s: Seconds it may take; 0: no end.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        events: "msgspec.json.Decoder[Event]",
        log: IO[bytes],
        name: str,
        limit_s: float,
    ) -> None:
        self._process = process
        self._events = events
        self._log = log
        self._name = name
        self._limit_s = limit_s
        self._late = False

    def next(self) -> Event:
        """Wait for the next event.

        Raises:
            ModelError: The work failed or took too long.
            JobDiedError: The process ended, and did not say why.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):  # its end, perhaps in the middle of a word
            raise JobDiedError(self._ended())
        event = self._events.decode(line)
        if isinstance(event, Failed):
            raise ModelError(event.message)
        return event

    def say(self, message: msgspec.Struct) -> None:
        """Tell the child more than its order.

        Raises:
            JobDiedError: It has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise JobDiedError(self._ended()) from None

    def end_late(self) -> None:
        """End the child: its time is up."""
        self._late = True
        self._process.kill()

    def _ended(self) -> str:
        status = self._process.wait()
        if self._late:
            return f"{self._name} must take at most {self._limit_s:g} s; it did not"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        words = f": {lines[-1]}" if lines else ""
        often = ". Signal 9 is mostly the system's, for want of memory" * (status == _KILLED)
        return f"{self._name} failed, its process ended {how}{words}{often}"


@contextlib.contextmanager
def started(
    module: str,
    order: msgspec.Struct | msgspec.Raw,
    folder: Path,
    events: "msgspec.json.Decoder[Event]",
    *,
    name: str,
    threads: int = 0,
    limit_s: float = 0.0,
    grace_s: float = 0.0,
) -> Iterator[Job[Event]]:
    """Start a child on an order; it is ended with the block.

    Args:
        module: What it runs: `run_job`.
        order: What to do.
        folder: Where order and log are written; the caller's.
        events: Reads what it tells, `Failed` among it.
        name: Its work, as a sentence begins: ``Training the encoder``.
        threads: How many compute at once; 0: as many as this process may, half of the cores if
            that is not said.
        limit_s: Seconds it may take; 0: no end.
        grace_s: Seconds beyond that after which it is killed, where it ends by itself in time.

    Raises:
        ModelError: It cannot be started.
    """
    usual = os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 2) // 2)
    with contextlib.ExitStack() as stack:
        try:
            part = folder / f"{ORDER}.new"
            part.write_bytes(msgspec.json.encode(order))
            os.replace(part, folder / ORDER)
            log = stack.enter_context((folder / "log.txt").open("w+b"))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", module, str(folder / ORDER)],
                    stdin=subprocess.PIPE,  # closed when this process ends, however it does
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, **thread_caps(threads or usual)},
                )
            )
        except OSError as error:
            raise ModelError(f"{name} cannot be started: {error}") from None
        stack.callback(process.kill)  # before it is waited for, whatever happened here
        job = Job(process, events, log, name, limit_s)
        if limit_s:
            timer = threading.Timer(limit_s + grace_s, job.end_late)
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
        yield job


def run_job(
    kind: type[Order],
    carry_out: Callable[[Order, Callable[[Any], None]], None],
    *,
    alone: Callable[[Order], None] = lambda _: None,
    hear: Callable[[bytes], None] = lambda _: None,
) -> int:
    """Carry out the order named on the command line; return the exit status.

    Args:
        kind: The order.
        carry_out: Does the work; given the order, and what tells an event.
        alone: Called where the parent has ended and can clear up nothing, before this does.
        hear: Called in a thread with each message that the parent tells beside the order.
    """
    wire = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    encoder = msgspec.json.Encoder()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    step_back()

    def tell(event: Any) -> None:
        wire.write(encoder.encode(event) + b"\n")

    try:
        order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=kind)

        def end() -> None:
            alone(order)
            os._exit(1)

        when_alone(end, hear)
        carry_out(order, tell)
    except BrokenPipeError:  # nobody follows any more
        return 1
    except OpenwheelError as error:
        tell(Failed(str(error)))
        return 1
    except (OSError, ImportError, MemoryError, msgspec.DecodeError) as error:
        tell(Failed(f"The work cannot go on: {str(error) or 'memory does not suffice'}"))
        return 1
    return 0


def when_alone(stop: Callable[[], None], hear: Callable[[bytes], None] = lambda _: None) -> None:
    """Call ``stop`` once the parent is gone, however it went: its end of the pipe closes.

    Until then ``hear`` is called with each line that it writes.
    """

    def wait() -> None:
        left = b""
        # Not by way of `sys.stdin`, whose lock the end of the interpreter would wait for.
        while read := os.read(_STDIN, 1 << 16):
            *lines, left = (left + read).split(b"\n")
            for line in lines:
                hear(line)
        stop()

    # Meant for the parent alone, though terminals and `pkill` send it to every process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=wait, name="openwheel-parent-watch", daemon=True).start()


def thread_caps(threads: int | str) -> dict[str, str]:
    """Return the environment in which libraries compute with so many threads.

    It must be there before NumPy or torch is imported. Threads that spin while they wait for each
    other make a busy machine several times slower.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        **dict.fromkeys(names, str(threads)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def step_back() -> None:
    """Lower the priority as training does: a gateway on the same machine comes first."""
    os.nice(max(0, NICENESS - os.nice(0)))
