import ast
import doctest
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

from openwheel.gate import monitors

FOLDER = Path(monitors.__file__).parent
MODULES = sorted(
    f"openwheel.gate.monitors.{info.name}" for info in pkgutil.iter_modules([str(FOLDER)])
)
OUTSIDE = {"os", "pathlib", "socket", "subprocess", "tempfile", "logging", "random", "time", "io"}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_true(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0


@pytest.mark.parametrize("name", ["EProcess", "EDetector", "ConfidenceSequence", "JumpDetector"])
def test_each_monitor_states_promise_source_and_an_example_with_a_number(name):
    text = getattr(monitors, name).__doc__
    assert all(part in text for part in ("**Promise.**", "Args:", "Examples:", "Source:"))
    assert any(character.isdigit() for character in text.partition("Examples:")[2])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_it_imports_numpy_scipy_msgspec_and_the_gate_alone(path):
    allowed = {"numpy", "scipy", "msgspec"} | (sys.stdlib_module_names - OUTSIDE)
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            assert name.split(".")[0] in allowed or name.startswith("openwheel.gate")


def test_what_it_exports_is_there_and_sorted():
    assert monitors.__all__ == sorted(monitors.__all__)
    assert all(hasattr(monitors, name) for name in monitors.__all__)
