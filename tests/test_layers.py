"""Imports point one way only: a stage knows nothing of those after it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "openwheel"
ORDER = [
    "errors",
    "job",
    "logs",
    "machine",
    "progress",
    "settings",
    "signals",
    "asgi_server",
    "sockets",
    "wire",
    "catalog",
    "trust",
    "store",
    "importing",
    "access",
    "tasks",
    "inference",
    "students",
    "export",
    "gate",
    "executors",
    "loop",
    "teachers",
    "web",
    "alerts",
    "console",
    "gateway",
    "edge",
    "processes",
    "cli",
]
# Neighbours in the list that have no business with each other.
STRANGERS = {
    "catalog": {"wire"},
    "store": {"catalog", "trust"},
    "importing": {"catalog", "trust"},
    "access": {"wire", "catalog", "trust"},
    "tasks": {"catalog", "trust", "access"},
    "students": {"access"},
    "gate": {
        *("errors", "job", "logs", "progress", "wire", "catalog", "trust", "store", "access"),
        *("tasks", "inference", "students", "export"),
    },
    "export": {"access"},
    "executors": {
        *("wire", "catalog", "trust", "store", "access"),
        *("tasks", "inference", "students", "export", "gate"),
    },
    "loop": {"access", "export"},
    "teachers": {"access", "gate"},
}


def imported(path: Path) -> set[str]:
    stages = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "openwheel" and len(parts) > 1:
                stages.add(parts[1])
    return stages


def test_imports_point_one_way():
    for stage in ORDER[1:]:
        allowed = set(ORDER[: ORDER.index(stage) + 1]) - STRANGERS.get(stage, set())
        for path in (PACKAGE / stage).rglob("*.py"):
            assert imported(path) <= allowed, f"{path}: {imported(path) - allowed}"


def test_every_folder_is_a_stage_in_the_order():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    alone = {
        "errors",
        "asgi_server",
        "job",
        "logs",
        "machine",
        "progress",
        "signals",
        "sockets",
    }
    assert folders == set(ORDER) - alone


def test_only_the_store_knows_its_database():
    own = re.compile(r"sqlalchemy|sqlite|rowid", re.IGNORECASE)
    # What it says of a user's file that is no log is no matter of the store.
    others = {"importing/opening.py"}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("store/") and name not in others:
            assert not own.search(path.read_text(encoding="utf-8")), name


def test_what_is_of_one_database_is_in_one_file():
    own = re.compile(r"dialects|PRAGMA|rowid|sqlite3|vacuum|psycopg|pg_", re.IGNORECASE)
    for path in (PACKAGE / "store").rglob("*.py"):
        if path.name not in {"sqlite.py", "postgres.py", "sql.py"}:
            assert not own.search(path.read_text(encoding="utf-8")), path.name


def loaded(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"numpy", "scipy", "sklearn", "torch", "sqlalchemy", "uvicorn", "rich"}
    assert not loaded("import openwheel") & heavy


def test_a_gateway_loads_no_training_and_no_torch():
    statement = "import openwheel.gateway, openwheel.loop.serving, openwheel.teachers"
    assert not loaded(statement) & {"sklearn", "torch", "transformers", "jinja2"}


def test_serving_a_model_loads_nothing_heavy():
    statement = "import openwheel.inference.local, openwheel.inference.server"
    heavy = {"numpy", "torch", "transformers", "peft", "gguf", "safetensors", "huggingface_hub"}
    assert not loaded(statement) & heavy


def test_access_loads_little():
    assert not loaded("import openwheel.access") & {"scipy", "sklearn", "torch", "uvicorn", "rich"}
