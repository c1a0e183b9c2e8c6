"""A Postgres server of the tests' own, in a temporary folder."""

import contextlib
import datetime
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOBODY = 65534


def programs() -> Path | None:
    """Return the folder of Postgres's programs, None if it is not installed."""
    for name in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (name / "initdb").exists() and (name / "postgres").exists():
            return name
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found and shutil.which("postgres") else None


class Server:
    """A server that listens on a socket in its folder, and on a port of loopback."""

    def __init__(self, folder: Path, binaries: Path, port: int, *, safe: bool) -> None:
        self.folder = folder
        self.port = port
        self._safe = safe
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make an empty cluster."""
        self._run(
            "initdb", "--pgdata", str(self.folder / "data"), "--username=openwheel",
            "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self.folder / "log").open("ab")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self._safe else "off",
            "shared_buffers": "64MB",
            "max_connections": "200",
            "log_min_messages": "warning",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with log:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *options],
                stdout=log,
                stderr=log,
                **_as_nobody(),
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self._execute("SELECT 1")
                return
            except Exception:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it: at once, all connections end; with SIGQUIT as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    @property
    def pid(self) -> int:
        """The id of its first process."""
        assert self._process is not None
        return self._process.pid

    def database(self, **options: str) -> str:
        """Make an empty database, and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        clauses = " ".join(f"{key} {value}" for key, value in options.items())
        self._execute(f"CREATE DATABASE {name} {clauses}")
        return f"postgresql://openwheel@127.0.0.1:{self.port}/{name}"

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected."""
        self._execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(
            f"postgresql://openwheel@127.0.0.1:{self.port}/postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **_as_nobody(),
        )


def sql(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement; return its rows."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def put_back(url: str, days: int) -> None:
    """Make what was stored today look as if it had been stored so many days ago."""
    today = datetime.datetime.now(datetime.UTC).date()
    then = today - datetime.timedelta(days=days)
    for parent, name in (("exchanges", "exchanges_"), ("exchange_bodies", "exchange_bodies_")):
        old, new = f"{name}{today:%Y%m%d}", f"{name}{then:%Y%m%d}"
        sql(url, f"ALTER TABLE {parent} DETACH PARTITION {old}")
        sql(url, f"ALTER TABLE {old} RENAME TO {new}")
        sql(url, f"UPDATE {new} SET day = %s", then)
        after = then + datetime.timedelta(days=1)
        values = f"FOR VALUES FROM ('{then}') TO ('{after}')"
        sql(url, f"ALTER TABLE {parent} ATTACH PARTITION {new} {values}")
    for table in ("exchange_days", "exchange_ids", "exchange_state"):
        sql(url, f"UPDATE {table} SET day = %s WHERE day = %s", then, today)


def _as_nobody() -> dict[str, object]:
    """Postgres refuses to be run by root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def server(*, safe: bool = False) -> Iterator[Server]:
    """Run a server until the block ends.

    Args:
        safe: Whether commits are synced to disk. Tests kill processes, and not the machine.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    binaries = programs()
    assert binaries is not None
    # In /tmp itself: the path of a socket may have a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="openwheel-pg-", dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        running = Server(folder, binaries, port, safe=safe)
        running.make()
        running.start()
        try:
            yield running
        finally:
            running.stop()
