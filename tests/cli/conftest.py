import shutil
from pathlib import Path

import pytest

from cli.runner import run
from made_up import tickets, write_log


@pytest.fixture(scope="session")
def learned_once(tmp_path_factory) -> Path:
    """Return a folder where a log was learned, for tests that only look."""
    folder = tmp_path_factory.mktemp("learned")
    run("learn", write_log(folder / "log.jsonl", tickets(1_500)), cwd=folder)
    return folder


@pytest.fixture
def learned(learned_once: Path, tmp_path: Path) -> Path:
    """Return a copy of it, for tests that change it."""
    return shutil.copytree(learned_once, tmp_path, dirs_exist_ok=True)
