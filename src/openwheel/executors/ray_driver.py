"""Speaks to a Ray cluster: ``python -m openwheel.executors.ray_driver ORDER.json``.

What crosses is the bytes of a job's files. A job whose process dies, or whose node does, is tried
once more, elsewhere if there is another node.
"""

import contextlib
import hashlib
import os
import queue
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from openwheel.errors import ModelError
from openwheel.executors.child import RESULTS
from openwheel.executors.messages import (
    MESSAGES,
    Connect,
    Connected,
    Drop,
    Ended,
    Event,
    Message,
    Start,
    Warned,
)
from openwheel.executors.node import carry_out_there
from openwheel.job import Failed, run_job

TRIES: Final = 2
"""How often a job whose process dies is tried."""

REACHED_S: Final = 5.0
"""Seconds to reach the port of a cluster; Ray itself would wait for minutes."""

CONNECTED_S: Final = 60.0
"""Seconds until a cluster whose port was reached must have taken this process."""

POLL_S: Final = 0.1
"""Seconds between two looks at what the learner says, while jobs are under way."""

MOST_SAID: Final = 500
"""Characters of what Ray says that are passed on."""

LARGE: Final = 1 << 20
"""Bytes from which a file that several jobs have is sent once."""

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

Tell = Callable[[Event], None]


class Try(msgspec.Struct):
    """A try of a job that is under way."""

    job: Start
    number: int


def carry_out(order: Connect, messages: "queue.SimpleQueue[Message]", tell: Tell) -> None:
    """Start and follow jobs until the learner ends this process.

    Raises:
        ModelError: The cluster cannot be reached.
    """
    host = _reached(order.address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent home
    if host in LOOPBACK:
        # Else Ray takes the machine's address in its network instead, where none may listen.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray  # noqa: PLC0415 - it reads the environment when it is imported

    with _ended_late(order.address, tell):
        try:
            ray.init(
                order.address, log_to_driver=False, configure_logging=False, namespace="openwheel"
            )
        except Exception as error:  # Ray raises what it has
            raise ModelError(_unreachable(order.address, str(error))) from None
    tell(Connected())
    Following(ray, tell).follow(messages)


class Following:
    """Jobs on a cluster."""

    def __init__(self, ray: Any, tell: Tell) -> None:
        self._ray = ray
        self._tell = tell
        self._under_way: dict[Any, Try] = {}
        self._sent: dict[str, Any] = {}
        self._warned = False

    def follow(self, messages: "queue.SimpleQueue[Message]") -> None:
        """Do what messages say, and tell how jobs end."""
        while True:
            try:
                message = messages.get(timeout=None if not self._under_way else POLL_S)
            except queue.Empty:
                pass
            else:
                if isinstance(message, Start):
                    self._start(Try(message, 1))
                else:
                    self._drop(message)
                continue
            ready, _ = self._ray.wait(list(self._under_way), timeout=0)
            for reference in ready:
                self._take(reference, self._under_way.pop(reference))
            if not self._under_way:
                self._sent.clear()

    def _start(self, attempt: Try) -> None:
        job, needs = attempt.job, attempt.job.needs
        folder = Path(job.folder)
        try:
            files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        except OSError as error:
            self._tell(Ended(job.folder, f"{job.name}: its files cannot be read: {error}"))
            return
        remote = self._ray.remote(carry_out_there).options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory or None,
            max_retries=0,  # Ray's own would count as one
            name=job.name,
            scheduling_strategy="SPREAD" if attempt.number > 1 else "DEFAULT",
        )
        contents = [self._content(content) for content in files.values()]
        reference = remote.remote(job.module, job.name, needs.threads, list(files), *contents)
        self._under_way[reference] = attempt
        self._warn_if_none_fits(job)

    def _content(self, content: bytes) -> Any:
        """Return a file's content, or a reference to it in the cluster where it is large."""
        if len(content) < LARGE:
            return content
        name = hashlib.sha256(content).hexdigest()
        if name not in self._sent:
            self._sent[name] = self._ray.put(content)
        return self._sent[name]

    def _drop(self, message: Drop) -> None:
        for reference, attempt in list(self._under_way.items()):
            if attempt.job.folder == message.folder:
                del self._under_way[reference]
                # Its process reads a pipe, which only its end interrupts.
                self._ray.cancel(reference, force=True)

    def _take(self, reference: Any, attempt: Try) -> None:
        """Tell how a try has ended, or try again."""
        files, problem, died = self._result(reference, attempt.job.name)
        if died and attempt.number < TRIES:
            self._tell(Warned(f"{problem}. It is tried once more"))
            self._start(Try(attempt.job, attempt.number + 1))
            return
        if not problem:
            problem = _written(Path(attempt.job.folder, RESULTS), files)
        self._tell(Ended(attempt.job.folder, problem, died))

    def _result(self, reference: Any, name: str) -> tuple[dict[str, bytes], str, bool]:
        raised = self._ray.exceptions
        hopeless = raised.RayTaskError, raised.TaskUnschedulableError, raised.RuntimeEnvSetupError
        try:
            result: tuple[dict[str, bytes], str, bool] = self._ray.get(reference)
        except hopeless as error:
            last = (str(error).strip() or repr(error)).splitlines()[-1]
            return {}, f"{name} cannot be done on the cluster: {last}", False
        except raised.RayError as error:
            first = (str(error).strip() or repr(error)).splitlines()[0]
            return {}, f"{name} failed, its node or process died: {first}", True
        return result

    def _warn_if_none_fits(self, job: Start) -> None:
        wanted = {"CPU": job.needs.cpus, "GPU": job.needs.gpus, "memory": float(job.needs.memory)}
        for node in self._ray.nodes():
            has = node["Resources"]
            if node["Alive"] and all(has.get(kind, 0.0) >= n for kind, n in wanted.items() if n):
                return
        if not self._warned:
            self._warned = True
            self._tell(
                Warned(
                    f"{job.name} waits for a node with {job.needs.cpus:g} processors, "
                    f"{job.needs.gpus:g} GPUs and {job.needs.memory / 1e6:,.0f} MB of memory; the "
                    "cluster has none now (loop.job_cpus, loop.job_gpus, loop.job_memory)"
                )
            )


def _written(folder: Path, files: dict[str, bytes]) -> str:
    """Write the files of a result; return why they cannot be."""
    try:
        for name, content in files.items():
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                return f"A job's result may have no file outside of its folder; one was {name!r}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        return f"A job's result cannot be written: {error}"
    return ""


def _reached(address: str) -> str:
    """Return the host of an address where something listens, ``""`` for a name of Ray's own.

    Raises:
        ModelError: The address is none, or nothing listens there.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        text = f"loop.ray_address must be HOST:PORT; it was {address!r} ({error})"
        raise ModelError(text) from None
    if not host or not port:
        return ""
    try:
        socket.create_connection((host, port), timeout=REACHED_S).close()
    except OSError as error:
        raise ModelError(_unreachable(address, str(error))) from None
    return host


def _unreachable(address: str, why: str) -> str:
    said = " ".join(why.split())[:MOST_SAID]
    return f"The Ray cluster at {address} cannot be reached: {said or 'it does not say why'}"


@contextlib.contextmanager
def _ended_late(address: str, tell: Tell) -> Iterator[None]:
    """End this process if the block takes too long: nothing interrupts Ray while it connects."""

    def end() -> None:
        tell(Failed(_unreachable(address, f"it did not answer within {CONNECTED_S:g} s")))
        os._exit(1)

    timer = threading.Timer(CONNECTED_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main() -> int:
    """Carry out the order on the command line; see `job.run_job`."""
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
    folders: set[str] = set()

    def hear(line: bytes) -> None:
        message = MESSAGES.decode(line)
        if isinstance(message, Start):
            folders.add(message.folder)
        messages.put(message)

    def clear_up(_: Connect) -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    return run_job(
        Connect, lambda order, tell: carry_out(order, messages, tell), alone=clear_up, hear=hear
    )


if __name__ == "__main__":
    sys.exit(main())
