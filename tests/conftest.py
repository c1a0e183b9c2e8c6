"""Fixtures that several folders of tests share."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from openwheel.job import step_back

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


LONGEST = (
    "tests/processes/",
    "tests/console/",
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
