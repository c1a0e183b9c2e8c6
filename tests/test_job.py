"""Work in a child process, with children whose work is in `job_children`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from job_children import EVENTS, Order, Said
from openwheel.errors import ModelError
from openwheel.job import started

TESTS = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    """Let children find their module."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]))


def start(do, folder, **options):
    return started("job_children", Order(do, str(folder)), folder, EVENTS, name="It", **options)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_events_come_and_what_libraries_print_goes_to_the_log(tmp_path):
    with start("talk", tmp_path, threads=3) as job:
        assert [job.next(), job.next()] == [Said("3"), Said("PASSIVE")]
        with pytest.raises(ModelError, match="ended with status 0"):
            job.next()
    log = (tmp_path / "log.txt").read_text()
    assert "what a library prints" in log
    assert "what one in C prints" in log


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("fail", "^There is nothing to learn$"),
        ("no memory", "^The work cannot go on: memory does not suffice$"),
        ("die", "^It failed, its process ended by signal 9: the last words. Signal 9 is mostly"),
    ],
)
def test_why_it_cannot_go_on_is_said(tmp_path, do, message):
    with start(do, tmp_path) as job, pytest.raises(ModelError, match=message):
        job.next()


def test_an_order_that_cannot_be_written_is_said(tmp_path):
    with (
        pytest.raises(ModelError, match=r"^It cannot be started: .*no/order"),
        start("talk", tmp_path / "no"),
    ):
        pass


def test_who_takes_too_long_is_ended(tmp_path):
    late = pytest.raises(ModelError, match=r"^It must take at most 0\.01 s; it did not$")
    with start("wait", tmp_path, limit_s=0.01) as job, late:
        job.next()


def test_threads_that_were_said_to_this_process_hold_for_its_children(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with start("talk", tmp_path) as job:
        assert job.next() == Said("7")


def test_it_is_ended_with_the_block_and_not_by_control_c(tmp_path):
    with start("wait", tmp_path) as job:
        pid = int(job.next().text)
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
        assert {job.next().text for _ in range(5)} == {"still there"}
    assert not lives(pid)
    assert not (tmp_path / "cleared").exists()


def test_it_ends_with_its_parent_and_clears_up(tmp_path):
    parent = (
        "import sys\nfrom pathlib import Path\n"
        "from job_children import EVENTS, Order\nfrom openwheel.job import started\n"
        "folder = Path(sys.argv[1])\norder = Order('wait', str(folder))\n"
        "with started('job_children', order, folder, EVENTS, name='It') as job:\n"
        "    print(job.next().text, flush=True)\n    job.next()\n"
    )
    command = [sys.executable, "-c", parent, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        pid = int(process.stdout.readline())
        process.kill()
    while lives(pid):
        time.sleep(0.01)
    assert (tmp_path / "cleared").exists()
