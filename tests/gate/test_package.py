import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from openwheel import gate
from openwheel.gate import monitors

FOLDER = Path(gate.__file__).parent
MODULES = sorted(info.name for info in pkgutil.walk_packages([str(FOLDER)], "openwheel.gate."))
PACKAGES = [gate, monitors]
INPUT_OUTPUT = {"open", "print", "input", "exec", "eval"}
OUTSIDE = {"os", "pathlib", "socket", "subprocess", "tempfile", "logging", "random", "time", "io"}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0


def test_there_are_examples():
    count = sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES)
    assert count >= 10


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_it_imports_numpy_scipy_msgspec_and_itself_and_does_no_input_or_output(path):
    allowed = {"numpy", "scipy", "msgspec", "openwheel"} | sys.stdlib_module_names
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in INPUT_OUTPUT
        for name in names:
            assert name.split(".")[0] in allowed - OUTSIDE
            assert not name.startswith("openwheel") or name.startswith("openwheel.gate")


def test_importing_it_loads_no_more_than_that():
    code = (
        "import sys, importlib; before = set(sys.modules)\n"
        "import openwheel.gate\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"sklearn", "torch", "pandas", "sqlalchemy", "starlette", "rich", "typer", "uvicorn"}
    assert "scipy" in loaded
    assert not loaded & heavy


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_what_it_exports_is_there_and_sorted(package):
    assert package.__all__ == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_nothing_is_exported_twice():
    assert not set(gate.__all__) & set(monitors.__all__)
