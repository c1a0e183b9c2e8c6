"""A real promoted student, learned from the bundled sample by ``openwheel learn``."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway_bench.bodies import SAMPLE, Template
from gateway_bench.processes import BENCHMARKS

# The lowest share there is a use for: an audit is the teacher's cost, not the student's.
_AUDIT = "0.001"


class Decided(NamedTuple):
    """What a student makes of some requests.

    Attributes:
        answers: What it answers to each, None where it leaves it to the teacher.
        ms: Milliseconds of CPU that one decision takes, on average.
    """

    answers: list[str | None]
    ms: float


def learn(database: Path) -> Path:
    """Learn the sample into a new store and return it; its student of route tickets is promoted."""
    # fmt: off
    command = [
        sys.executable, "-m", "openwheel", "learn", str(SAMPLE), "--rungs", "exact,linear",
        "--audit", _AUDIT, "--db", str(database), "--json",
    ]
    # fmt: on
    done = subprocess.run(command, cwd=database.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"openwheel learn ended with {done.returncode}:\n{done.stderr}")
    return database


def copy(database: Path, to: Path) -> Path:
    """Copy a store that nobody has open, and its students; return the copy."""
    shutil.copy(database, to)
    shutil.copytree(f"{database}.students", f"{to}.students")
    return to


def agreeing(database: Path, pool: Sequence[Template]) -> Path:
    """Write what a teacher has to answer so that no audit takes the student off; return the file.

    A benchmark of what a student costs ends where its teacher says something else.
    """
    answers = decided(database, [template.body(1) for template in pool]).answers
    path = database.with_suffix(".answers.json")
    said = {
        template.key: answer
        for template, answer in zip(pool, answers, strict=True)
        if answer is not None
    }
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


def decided(database: Path, bodies: Sequence[bytes]) -> Decided:
    """Ask the promoted students about requests in a process of their own, without HTTP."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway_bench.decide", str(database)],
        cwd=BENCHMARKS,
        input=b"\n".join(bodies),
        stdout=subprocess.PIPE,
        check=True,
    )
    return Decided(**json.loads(done.stdout))
