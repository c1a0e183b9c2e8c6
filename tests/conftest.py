"""Fixtures that several folders of tests share."""

import gc
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import postgres
from openwheel.job import step_back
from teacher import TeacherProcess

if TYPE_CHECKING:
    from openwheel.store import Store

# One thread each: several test processes on two cores slow one another down otherwise.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Bytecode is kept: else each process that is started compiles all of Openwheel, half of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Not before all modules are imported: else it looks through all of torch again and again.
gc.disable()
# As nice as who trains in a process of its own, which else starves beside other tests.
step_back()
# In a shell's background control-C is ignored, also by what is started there: none would end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# What commands print is read as from a pipe, without colours, also where FORCE_COLOR or -s is set.
os.environ["TTY_COMPATIBLE"] = "0"

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


# Runs the tests with stores in Postgres: those that look into a file, or start processes of their
# own on it, are skipped.
IN_POSTGRES = os.environ.get("OPENWHEEL_TEST_STORE") == "postgres"


LONGEST = (
    "tests/fleet/",
    "tests/processes/",
    "tests/console/",
    "tests/edge/",
    "tests/loop/offline/test_learn.py",
    "tests/students/tune/",
    "tests/cli/test_commands.py",
    "tests/loop/test_killed.py",
    "tests/loop/audit/",
    "tests/gate/test_certificate.py",
    "tests/clients/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: begun last, one process would be at them alone."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Have garbage collected from now on, but never looked for in what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator["postgres.Server"]:
    """Return a running Postgres server; skip where none is installed."""
    if postgres.programs() is None or importlib.util.find_spec("psycopg") is None:
        if os.environ.get("CI"):
            pytest.fail("Postgres is missing: in CI the tests on it must run")
        pytest.skip("Postgres is not installed on this machine")
    # What belongs to a store and is not in it: of each database, in a folder of the user's cache.
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        with postgres.server() as running:
            yield running


@pytest.fixture
def postgres_url(postgres_server: "postgres.Server") -> Iterator[str]:
    """Return the URL of an empty database."""
    url = postgres_server.database()
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Return where a store may be made: a file, then an empty database."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    if IN_POSTGRES:
        pytest.skip("runs in Postgres by itself")
    return tmp_path / "openwheel.db"


@pytest.fixture
def both(place: Path | str) -> Iterator["Store"]:
    """Return an empty store, in a file and then in Postgres."""
    from openwheel.store import Store

    with Store.open(place) as store:
        yield store


@pytest.fixture(autouse=IN_POSTGRES)
def _stores_in_postgres(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the stores of this process in Postgres: one database for each file that is named.

    Where the file is there, as one that a fixture prepared, the database is made a copy of it.
    """
    from openwheel.loop.registry import Registry, copy_students
    from openwheel.settings.place import is_url
    from openwheel.store import Store
    from openwheel.store.copy import copy_store

    server = request.getfixturevalue("postgres_server")
    urls: dict[str, str] = {}
    opened = Store.open.__func__

    def open_in_postgres(cls: type, place: Path | str, **options: Any) -> Any:
        if is_url(place):
            return opened(cls, place, **options)
        name = str(Path(place).absolute())
        made = Path(place).is_file()
        if name not in urls and (made or options.get("create", True)):
            urls[name] = server.database()
            if made:
                with opened(cls, place) as file, opened(cls, urls[name]) as copy:
                    copy_students(Registry(file), Registry(copy))
                    copy_store(file, copy)
        return opened(cls, urls.get(name, place), **options)

    def looked_into(_: Store) -> Path:
        pytest.skip("looks into a store's file")

    monkeypatch.setattr(Store, "open", classmethod(open_in_postgres))
    monkeypatch.setattr(Store, "path", property(looked_into))


@pytest.fixture
def in_a_file() -> None:
    """Skip a test of a file where stores are in Postgres."""
    if IN_POSTGRES:
        pytest.skip("is about a store in a file")


@pytest.fixture
def seed() -> int:
    """Return ``OPENWHEEL_SEED``, or any number; it is printed, so that a run can be had again."""
    found = int(os.environ.get("OPENWHEEL_SEED", random.SystemRandom().randrange(10_000)))
    sys.stdout.write(f"OPENWHEEL_SEED={found}\n")
    return found


@pytest.fixture
def say() -> Callable[[str], None]:
    """Return what prints a line with the seconds since the test began."""
    began = time.monotonic()

    def write(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s: {text}\n")
        sys.stdout.flush()

    return write


@pytest.fixture
def live_teacher() -> Iterator[TeacherProcess]:
    """Return a teacher of `processes.live_tasks`, as a process that can be killed."""
    with TeacherProcess("processes.live_tasks:answers") as made:
        made.start()
        yield made


@pytest.fixture(scope="session")
def sample() -> Path:
    """Return the bundled sample log."""
    return ROOT / "examples" / "factory-desk.jsonl.gz"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of shared data sets; skip where there is none."""
    if not DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{DATA} is missing: in CI the tests on shared data must run")
        pytest.skip(f"{DATA} is missing: the shared data sets are not on this machine")
    return DATA
