"""The long form of all that `make test` looks at: one line a check, and one closing line.

    python benchmarks/evidence.py [CHECK ...] [--list] [--logs FOLDER]

Without names it runs every check, one after the other, for hours. What a check prints goes to a
file of its own. The checks are all tests, those with the marker ``evidence``, every benchmark that
fails where a promise is broken, and, under each Python that the package names, the demo and
the tests that need no torch, in an environment of their own.

Exit code 1 if a check failed, 130 if it was stopped. A Python that is not on this machine is told
and fails nothing.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple, TextIO

from shared import about

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.prefix) / "bin" / "uv"
PYTEST = ("-m", "pytest", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder", "-rs")
LONG = ("-m", "evidence", "--timeout", "7200")
BENCHMARKS = {
    "validity": ("validity.py",),
    "audit": ("audit.py",),
    "poisoning": ("poisoning.py",),
    "long-run": ("long_run.py",),
    "long-run-once": ("long_run.py", "--once", "--requests", "36000"),
    "gateway": ("gateway.py", "--rounds", "1"),
    "idle": ("gateway.py", "--idle"),
}
IN_POSTGRES = ("env", "OPENWHEEL_TEST_STORE=postgres")
KEPT = tuple(f"tests/{folder}" for folder in ("access", "alerts", "loop/audit", "loop/drift"))
"""What is tried once more with every store in Postgres."""
NEED_TORCH = ("tests/inference", "tests/export")
STOP_S, LOOK_S = 30.0, 0.1
ENDING = (signal.SIGINT, signal.SIGTERM)

Command = list[str]


class Check(NamedTuple):
    """Commands that are to end well, one after the other; or why there are none to run."""

    name: str
    commands: list[Command]
    absent: str = ""


def checks(logs: Path) -> list[Check]:
    """Return every check, in the order in which they run."""
    python = sys.executable
    found = [
        Check("tests", [[python, *PYTEST]]),
        Check("long-tests", [[python, *PYTEST, *LONG, "--ignore=tests/fleet"]]),
        Check("in-postgres", [[*IN_POSTGRES, python, *PYTEST, *KEPT]]),
        # By itself, since it measures: what it prints says when and with which seed.
        Check("fleet", [[python, "-m", "pytest", *LONG, "-s", "tests/fleet"]]),
    ]
    for name, (script, *options) in BENCHMARKS.items():
        found.append(Check(name, [[python, str(ROOT / "benchmarks" / script), *options]]))
    for release in named_releases():
        found += under(release, logs)
    return found


def named_releases() -> list[str]:
    """Return the releases of Python that the package's classifiers name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = (re.fullmatch(r".*:: Python :: (3\.\d+)", one) for one in project["classifiers"])
    return [match[1] for match in named if match]


def under(release: str, logs: Path) -> list[Check]:
    """Return the checks of one release of Python: the demo, and the tests that need no torch."""
    demo, tests = f"demo-{release}", f"tests-{release}"
    python = interpreter(release)
    if python is None:
        return [Check(name, [], f"no Python {release} was found") for name in (demo, tests)]
    folder = Path(sys.prefix) / "evidence" / release
    inside = str(folder / "bin" / "python")
    uv = str(UV)
    install = [uv, "pip", "install", "--quiet", "--python", inside]
    build = ["--build-constraint", "requirements/build.txt"]
    made = [
        [uv, "venv", "--quiet", "--clear", "--python", python, str(folder)],
        [*install, "--no-deps", "--require-hashes", "--requirement", "requirements/run.txt"],
        [*install, "--no-deps", *build, "--editable", "."],
    ]
    tools = [*install, *build, "--constraint", "requirements/test.txt", "--editable", ".[test]"]
    ignored = [f"--ignore={folder}" for folder in (*NEED_TORCH, "tests/clients")]
    return [
        Check(demo, [*made, [inside, "examples/demo.py", "--out", str(logs / demo)]]),
        Check(tests, [*made, tools, [inside, *PYTEST, *ignored]]),
    ]


def interpreter(release: str) -> str | None:
    """Return a Python of this release: this one, one on the path, or one of pyenv's."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for candidate in (
        sys.executable,
        shutil.which(f"python{release}"),
        *map(str, sorted(versions.glob(f"{release}.*/bin/python"))),
    ):
        if candidate and _release(candidate) == release:
            return candidate
    return None


def _release(python: str) -> str:
    """Return which release a program says that it is, or nothing where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def ends_well(check: Check, log: TextIO) -> bool:
    """Run a check's commands until one fails; end the one that runs when this is stopped."""
    for command in check.commands:
        print("$", *command, file=log, flush=True)
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_unblock,  # noqa: PLW1509 - there is one thread
        ) as process:
            while (code := process.poll()) is None:
                if signal.sigtimedwait(ENDING, LOOK_S):
                    _end(process)
                    raise KeyboardInterrupt
        if code:
            print(f"exit code {code}", file=log)
            return False
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command and all that it started: first as Ctrl-C does, then for good."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def run(chosen: list[Check], logs: Path) -> int:
    """Run checks and tell of each; return the exit code."""
    logs.mkdir(parents=True, exist_ok=True)
    began, outcomes, stopped = time.monotonic(), Counter[str](), False
    for check in chosen:
        print(f"{check.name:<14} ", end="", flush=True)
        started, path = time.monotonic(), logs / f"{check.name}.log"
        if check.absent:
            outcome = "absent"
        else:
            try:
                with path.open("w", encoding="utf-8") as log:
                    outcome = "passed" if ends_well(check, log) else "failed"
            except KeyboardInterrupt:
                outcome, stopped = "stopped", True
        outcomes[outcome] += 1
        print(f"{outcome:<8}{time.monotonic() - started:>7,.0f} s  {check.absent or path}")
        if stopped:
            break
    outcomes["not run"] = len(chosen) - outcomes.total()
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if count)
    print(f"{told}; {time.monotonic() - began:,.0f} s")
    return 130 if stopped else int(outcomes["failed"] > 0)


def heed_signals() -> None:
    """Have whoever ends this end the check that runs too, also where a shell ignores Ctrl-C.

    The signals are blocked, and looked for: one that came while a check was being started would
    leave it running.
    """
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("names", nargs="*", metavar="CHECK", help="all, unless some are named")
    options.add_argument("--list", action="store_true", help="name the checks, and run none")
    options.add_argument("--logs", type=Path, default=ROOT / "evidence-output", metavar="FOLDER")
    asked = options.parse_args()
    logs: Path = asked.logs.resolve()
    known = checks(logs)
    if unknown := set(asked.names) - {check.name for check in known}:
        options.error(f"no such check: {', '.join(sorted(unknown))}; --list names them")
    if asked.list:
        print(*(check.name for check in known), sep="\n")
        return 0
    heed_signals()
    print(about("benchmarks/evidence.py"))
    return run([one for one in known if not asked.names or one.name in asked.names], logs)


if __name__ == "__main__":
    sys.exit(main())
