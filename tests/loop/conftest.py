from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from made_up import write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.registry import Registry
from openwheel.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "openwheel.db") as opened:
        yield opened


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


class Filler:
    """Puts rows into a store as a log would."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.logs = 0

    def __call__(self, rows: list[Any]) -> None:
        self.logs += 1
        path = write_log(self.folder / f"{self.logs}.jsonl", rows, timed=False)
        self.store.append(list(read_log(path, in_order=True, problems=LogProblems())))


@pytest.fixture
def fill(store: Store, tmp_path: Path) -> Filler:
    return Filler(store, tmp_path)
