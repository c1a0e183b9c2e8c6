"""The locks, and what looks them up among the known vulnerabilities."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "requirements/vulnerabilities.py"
SAFE = {"name": "numpy", "version": "2.4.0", "vulns": []}
KNOWN = {
    "name": "jinja2",
    "version": "3.1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.6"], "aliases": ["CVE-1", "GHSA-1"]}],
}
MISSED = {"name": "typer", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def audit(tmp_path):
    """Look a lock up with a program that says what pip-audit said."""

    def run(stdout, stderr="", code=0):
        program = tmp_path / "pip-audit"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.stdout.write({stdout!r})\n"
            f"sys.stderr.write({stderr!r})\nsys.exit({code})\n"
        )
        program.chmod(0o755)
        return subprocess.run(
            [sys.executable, SCRIPT, "--program", program, "requirements/run.txt"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("packages", "code", "told", "closing"),
    [
        ([SAFE], 0, "nothing is known of 1 packages", "Nothing is known"),
        ([SAFE, KNOWN], 1, "jinja2 3.1.0: PYSEC-1, CVE-1, GHSA-1, mended in 3.1.6", "1 known"),
        # pip-audit itself ends well here.
        ([MISSED, MISSED], 3, "not looked up: Dependency not found on PyPI (and 1 more)", "Not ev"),
        ([SAFE, MISSED], 3, "nothing is known of 1 packages; not looked up", "Not everything"),
        ([KNOWN, MISSED], 1, "not looked up", "1 known"),
    ],
)
def test_only_what_was_looked_up_passes(audit, packages, code, told, closing):
    done = audit(json.dumps({"dependencies": packages, "fixes": []}), code=int(code == 1))
    assert done.returncode == code, done.stderr
    assert told in done.stdout
    assert done.stdout.splitlines()[-1].startswith(closing)


def test_a_network_without_that_service_is_said_to_be_one(audit):
    done = audit("", stderr="Traceback ...\nConnectionError: failed to resolve 'host'\n", code=1)
    assert done.returncode == 3
    assert "not looked up: pip-audit failed: ConnectionError: failed to resolve" in done.stdout


def test_a_program_that_is_not_there_is_named():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--program", "/nowhere/pip-audit"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "'/nowhere/pip-audit' is not there" in done.stderr
