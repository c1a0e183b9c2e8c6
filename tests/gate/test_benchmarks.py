import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*command):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT / "benchmarks",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_validity_runs_and_breaks_no_promise():
    done = run("validity.py", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) > 40
    assert sum("| promise |" in line for line in lines) > 30
    assert sum("| contrast |" in line for line in lines) > 5
    assert "promises broken: 0" in done.stdout


def test_a_broken_promise_fails_the_run():
    """The same line as a promise where the gate counts rows as independent: it must be noticed."""
    code = (
        "import functools, validity as v\n"
        "world = v.bursts(v.ABOVE, 0)\n"
        "trial = functools.partial(v.clustered, world=world, n=500, how='rows alone')\n"
        "print(v.run(v.Line('x', 500, 60, trial, v.FIRST), 0))"
    )
    done = run("-c", code)
    assert "**BROKEN**" in done.stdout
    assert ", True)" in done.stdout


def test_starts_prints_a_table():
    done = run("starts.py", "--draws", "2")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| furthest behind the best \|", done.stdout)


def test_what_betting_costs_is_printed():
    done = run("betting_cost.py", "--draws", "1")
    assert done.returncode == 0, done.stderr
    assert "| 1,000 | 36 | 31 | 30 |" in done.stdout
    assert len(re.findall(r"^\| 0\.", done.stdout, re.MULTILINE)) == 8
