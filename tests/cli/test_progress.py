"""Long work on a terminal and in a pipe, and control-C, with real processes."""

import contextlib
import json
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from openwheel.cli.learning import IMPORT_BATCH
from openwheel.cli.progress import shown
from openwheel.errors import StoreError
from openwheel.loop.registry import Registry
from openwheel.progress import LINE_EVERY_S, Lines
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

WAIT_S = 60.0
TERMINAL = {"TERM": "xterm", "COLUMNS": "150", "TTY_COMPATIBLE": ""}
WORDS = ["refunds", "parcels"]


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said():
    return []


@pytest.fixture
def lines(said, clock):
    return Lines(said.append, clock)


def test_phrases_are_lines(lines, said):
    lines("finding tasks")
    assert said == ["finding tasks"]


def test_a_step_is_a_line_now_and_then_with_its_rate_and_the_time_left(lines, said, clock):
    lines("training", 0, 400, "steps")
    for done in range(1, 201):
        clock.now += 0.5
        lines("training", done, 400, "steps")
    assert len(said) == 100 / LINE_EVERY_S
    assert said[0] == "training: 20 of 400 steps, 2/s, 3 min left"
    assert said[-1] == "training: 200 of 400 steps, 2/s, 100 s left"
    lines("training", 400, 400, "steps")
    assert said[-1] == "training: 400 of 400 steps, 4/s, 100 s in all"


def test_a_step_that_stopped_early_says_how_far_it_was(lines, said, clock):
    lines("training", 0, 400, "steps")
    clock.now += 4
    lines("training", 40, 40, "steps")
    assert said == ["training: 40 of 400 steps, 10/s, 4 s in all"]


def test_how_well_a_step_goes_stands_beside_how_far_it_is(lines, said, clock):
    lines("training", 0, None, "steps")
    lines("training", 1, 40, "steps", "54 tokens/s, loss 0.900")
    clock.now += LINE_EVERY_S
    lines("training", 11, 40, "steps", "54 tokens/s, loss 0.310")
    assert said == ["training: 11 of 40 steps, 1/s, 54 tokens/s, loss 0.310, 29 s left"]


def test_lines_come_as_seldom_as_they_are_to(said, clock):
    lines = Lines(said.append, clock, every=60.0)
    lines("training", 0, 400, "steps")
    for done in range(1, 181):
        clock.now += 1
        lines("training", done, 400, "steps")
    assert len(said) == 3


def test_a_step_of_unknown_size_says_what_is_done(lines, said, clock):
    lines("reading", 0, None, "bytes")
    clock.now += LINE_EVERY_S
    lines("reading", 5e6, None, "bytes")
    lines("reading", 6e6, 8e6, "bytes")
    clock.now += LINE_EVERY_S
    lines("reading", 7e6, 8e6, "bytes")
    assert said == [
        "reading: 5.0 MB, 0.5 MB/s",
        "reading: 7.0 MB of 8.0 MB, 0.1 MB/s, 10 s left",
    ]


def test_what_is_over_at_once_is_no_line(lines, said):
    for _ in range(3):
        lines("judging", 0, 7, "exchanges")
        lines("judging", 7, 7, "exchanges")
    lines("nothing", 0, 0, "exchanges")
    assert said == []


def test_nothing_is_said_once_nobody_waits(capsys):
    with shown() as progress:
        progress("finding tasks")
    progress("training on 7")
    assert capsys.readouterr().err == "finding tasks\n"


def rows(start, stop):
    """Return lines of a log, of a task that is learned in a moment."""
    said = (
        {"input": f"Route: {WORDS[i % 2]} {i}", "output": WORDS[i % 2]} for i in range(start, stop)
    )
    return "".join(json.dumps(row) + " " * 2_000 + "\n" for row in said).encode()


def stored(database):
    """Return how many exchanges a store has, 0 if it is not there yet, or not whole."""
    with contextlib.suppress(StoreError), Store.open(database, create=False) as store:
        return store.last_seq()
    return 0


def feed(stdin, database, fewest):
    """Write rows until a store has some of them; return how many were written."""
    deadline = time.monotonic() + WAIT_S
    written = 0
    while stored(database) < fewest:
        assert time.monotonic() < deadline
        data = rows(written, written + 100)
        while data:
            data = data[os.write(stdin, data) :]
        written += 100
    return written


@contextlib.contextmanager
def running(arguments, folder, **more):
    """Run a command with pipes; it is ended with the block."""
    command = [sys.executable, "-m", "openwheel", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    with subprocess.Popen(command, cwd=folder, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A command on a terminal of its own, with its standard input, and its results elsewhere."""

    def __init__(self, *arguments: object, folder: Path) -> None:
        reading, self.stdin = os.pipe()
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.dup2(reading, 0)
            os.dup2(os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.closerange(3, 64)
            command = [sys.executable, "-m", "openwheel", *map(str, arguments)]
            os.execve(sys.executable, command, {**os.environ, **TERMINAL})
        os.close(reading)
        self._shown, self._over = b"", threading.Event()
        # What nobody reads would stop who writes it.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while True:
                # Not every system wakes who reads when the other end is closed.
                ready = select.select([self._terminal], [], [], 0.1)[0]
                if ready:
                    self._shown += os.read(self._terminal, 1 << 16)
                elif self._over.is_set():
                    return

    def write(self, data: bytes) -> None:
        """Write all that the command is to read."""
        with open(self.stdin, "wb") as file:
            file.write(data)

    def control_c(self) -> None:
        os.write(self._terminal, b"\x03")

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code, and what the terminal showed."""
        status = os.waitpid(self._pid, 0)[1]
        self._over.set()
        self._reader.join()
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status), self._shown.decode(errors="replace")


def test_control_c_keeps_what_was_read_and_the_same_command_goes_on(tmp_path):
    command = ("learn", "-", "--json", "--rungs", "exact")
    first = Terminal(*command, folder=tmp_path)
    written = feed(first.stdin, tmp_path / "openwheel.db", IMPORT_BATCH)
    first.control_c()
    code, shown = first.end()
    os.close(first.stdin)
    assert code == 130, shown
    assert "reading -" in shown
    [(added, rest)] = re.findall(r"stopped: ([\d,]+) new exchanges (.*)\r", shown)
    assert rest.startswith("were added to openwheel.db, and what was certified is kept.")
    assert "Traceback" not in shown
    assert (tmp_path / "out.txt").read_text() == ""
    kept = stored(tmp_path / "openwheel.db")
    assert kept == int(added.replace(",", ""))

    again = Terminal(*command, folder=tmp_path)
    threading.Thread(target=again.write, args=[rows(0, written + 10)]).start()
    code, shown = again.end()
    assert code == 0, shown
    new = written + 10 - kept
    assert f"{written + 10:,} exchanges read, {new:,} of them new in openwheel.db" in shown
    assert "learning" in shown
    assert json.loads((tmp_path / "out.txt").read_text())["exchanges"] == written + 10


@pytest.mark.evidence
def test_a_turn_that_is_stopped_leaves_a_whole_store(tmp_path):
    database = tmp_path / "openwheel.db"
    many = 10_000
    with Store.open(database) as store:
        store.append(
            Exchange(
                id=str(i),
                request=json.dumps({"messages": [{"role": "user", "content": text}]}).encode(),
                answer=Answer(text.split()[1]),
                source="teacher",
            )
            for i in range(many)
            if (text := f"Route: {random.choice(WORDS)} {random.random()} {i}")
        )
    with running(("turn", "--json"), tmp_path) as process:
        shown = ""
        while "training on" not in shown:
            line = process.stderr.readline()
            assert line, shown
            shown += line
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert out == ""
    assert "\x1b" not in shown + rest
    assert rest.splitlines()[-1].startswith("stopped: openwheel.db keeps its traffic")
    with Store.open(database, create=False) as store:
        registry = Registry(store)
        assert store.last_seq() == many
        assert registry.candidates() == []
        assert [record.attempts for record in registry.tasks()] == [0]


@pytest.mark.evidence
def test_a_replay_that_is_stopped_says_that_nothing_goes_on(tmp_path):
    command = ("replay", "-", "--db", "kept.db", "--rungs", "exact")
    with running(command, tmp_path, stdin=subprocess.PIPE) as process:
        feed(process.stdin.fileno(), tmp_path / "kept.db", 1)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "stopped: a replay starts from nothing, and kept.db holds a part of one" in shown
