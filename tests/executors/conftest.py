import pytest


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Have numbers added up in one order here too: a job has one thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
