import ast
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import evidence
from evidence import Check

ROOT = Path(__file__).resolve().parents[1]
GOOD = Check("good", [["true"], ["echo", "seen"]])
EXTRAS = {
    "llguidance",
    "onnx",
    "onnxruntime",
    "peft",
    "tokenizers",
    "torch",
    "transformers",
    "xllamacpp",
}
BAD = Check("bad", [["false"], ["echo", "never"]])
ABSENT = Check("demo-3.99", [], "no Python 3.99 was found")


def test_each_check_has_a_line_and_the_last_line_counts_them(tmp_path, capsys):
    assert evidence.run([GOOD, BAD, ABSENT, GOOD], tmp_path) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    outcomes = [line.split()[:2] for line in lines]
    assert outcomes == [
        ["good", "passed"],
        ["bad", "failed"],
        ["demo-3.99", "absent"],
        ["good", "passed"],
    ]
    assert last.startswith("2 passed, 1 failed, 1 absent; ")
    assert "seen" in (tmp_path / "good.log").read_text()
    assert (tmp_path / "bad.log").read_text() == "$ false\nexit code 1\n"


def test_what_is_absent_fails_nothing(tmp_path):
    assert evidence.run([GOOD, ABSENT], tmp_path) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_stopped_leaves_no_process(number, tmp_path):
    code = (
        "import evidence, pathlib, sys\n"
        "long = evidence.Check('long', [['sh', '-c', 'sleep 60 & echo $!; wait']])\n"
        "evidence.heed_signals()\n"
        "sys.exit(evidence.run([long, long], pathlib.Path(sys.argv[1])))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT / "benchmarks",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        log, deadline = tmp_path / "long.log", time.monotonic() + 30
        while not (log.exists() and re.search(r"^\d+$", log.read_text(), re.MULTILINE)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "1 stopped, 1 not run; " in said
    sleeper = re.findall(r"^\d+$", log.read_text(), re.MULTILINE)[0]
    status, deadline = Path(f"/proc/{sleeper}/status"), time.monotonic() + 10
    while status.exists() and "zombie" not in status.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_python_that_the_package_names_is_tried():
    assert evidence.named_releases()[0] == "3.11"
    names = {check.name for check in evidence.checks(Path("logs"))}
    for release in evidence.named_releases():
        assert {f"demo-{release}", f"tests-{release}"} <= names


def test_checks_are_listed_and_chosen_by_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evidence.py", "--list"])
    assert evidence.main() == 0
    listed = capsys.readouterr().out.split()
    assert listed == [check.name for check in evidence.checks(Path("logs"))]
    assert {"tests", "long-tests", *evidence.BENCHMARKS} <= set(listed)
    monkeypatch.setattr(sys, "argv", ["evidence.py", "validity", "validty"])
    with pytest.raises(SystemExit) as ended:
        evidence.main()
    assert ended.value.code == 2
    assert "no such check: validty" in capsys.readouterr().err


@pytest.mark.parametrize("name", evidence.BENCHMARKS)
def test_a_benchmark_that_is_a_check_is_there_and_takes_its_options(name):
    script, *options = evidence.BENCHMARKS[name]
    source = (ROOT / "benchmarks" / script).read_text(encoding="utf-8")
    for option in options:
        assert not option.startswith("--") or f'"{option}"' in source


def test_what_runs_without_torch_imports_none():
    """Under other Pythons only the core and what tests need is there."""
    without = [
        path
        for path in (ROOT / "tests").rglob("*.py")
        if not path.is_relative_to(ROOT / "tests" / "clients")
        and not any(path.is_relative_to(ROOT / folder) for folder in evidence.NEED_TORCH)
    ]
    assert len(without) > 100
    for path in without:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if "importorskip(" in ast.unparse(node):
                break  # without it the rest of the file is skipped
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not EXTRAS & {module.partition(".")[0] for module in modules}, path
