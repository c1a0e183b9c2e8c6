"""A marker that tests are selected by marks some."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OPTIONS = PYPROJECT["tool"]["pytest"]["ini_options"]
# Pytest's own, and those of its plugins.
OTHERS = {"filterwarnings", "parametrize", "skipif", "timeout", "usefixtures", "xfail"}


def marks() -> set[str]:
    """Return the names that stand after ``pytest.mark`` in the tests."""
    return {
        node.attr
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest.mark"
    }


def test_every_declared_marker_marks_a_test_and_is_selected_by():
    declared = {line.partition(":")[0] for line in OPTIONS["markers"]}
    assert marks() - OTHERS == declared == {"evidence"}
    assert "-m 'not evidence'" in OPTIONS["addopts"]
    assert '"-m", "evidence"' in (ROOT / "benchmarks" / "evidence.py").read_text(encoding="utf-8")
