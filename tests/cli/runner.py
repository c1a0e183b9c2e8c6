"""How the tests run commands: in this process, or as processes of their own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from openwheel.cli import main


class Done(NamedTuple):
    """What a command returned and wrote."""

    code: int
    stdout: str
    stderr: str


def run(
    *arguments: object,
    cwd: Path,
    code: int = 0,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
) -> Done:
    """Run a command in this process, as ``python -m openwheel`` in that folder would.

    Not for ``turn`` and ``up``, which put limits on the process that they run in, and log from it.
    """
    before, ended, env = sys.argv, 0, {"COLUMNS": "200", **(env or {})}
    with contextlib.chdir(cwd), CliRunner().isolation(stdin, env) as (out, err, _):
        sys.argv = ["openwheel", *map(str, arguments)]
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
        finally:
            sys.argv = before
            sys.stdout.flush()
            sys.stderr.flush()
        done = Done(ended, out.getvalue().decode(), err.getvalue().decode())
    return _checked(done, code)


def run_process(*arguments: object, cwd: Path, code: int = 0) -> Done:
    """Run a command as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "openwheel", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    return _checked(Done(done.returncode, done.stdout, done.stderr), code)


def _checked(done: Done, code: int) -> Done:
    assert done.code == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done
