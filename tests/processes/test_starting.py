"""A gateway that cannot start says why, once, in a line, and ends with code 2."""

import contextlib
import os
import sqlite3
import subprocess
import sys

import pytest

from cli.runner import run
from openwheel.sockets import listen

TEACHER = ("--teacher", "http://127.0.0.1:9/v1")
COMMAND = (sys.executable, "-m", "openwheel", "up", "--port", "0")


@pytest.fixture
def refused(tmp_path):
    """Return the one line of ``openwheel up`` with these arguments."""

    def start(*arguments, **environment):
        done = subprocess.run(
            [*COMMAND, "--workers", "1", "--log-level", "error", *arguments],
            env={**os.environ, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert lines[0].startswith("openwheel: ")
        said = " ".join(line.strip() for line in lines)  # long lines are wrapped
        assert said.count("openwheel: ") == 1
        return said

    return start


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[gateway]\nworkers = 0\n", "workers"),
        ("[gateway]\nworker = 2\n", "worker"),
        ("[gateway", "openwheel.toml"),
        ('[[teachers]]\nurl = "ftp://x"\n', "must be a URL"),
        pytest.param(
            '[[teachers]]\nurl = "replay:nowhere.jsonl"\n',
            "nowhere.jsonl",
            marks=pytest.mark.evidence,
        ),
        pytest.param(
            '[[teachers]]\nurl = "http://127.0.0.1:9/v1"\nkey_env = "NO_SUCH_KEY"\n',
            "NO_SUCH_KEY",
            marks=pytest.mark.evidence,
        ),
    ],
)
def test_wrong_settings(refused, tmp_path, settings, said):
    (tmp_path / "openwheel.toml").write_text(settings)
    assert said in refused()


def test_no_teacher(refused):
    assert "There is no teacher" in refused()


def test_a_store_that_is_no_database(refused, tmp_path):
    (tmp_path / "openwheel.db").write_text("what is this? " * 100)
    assert "openwheel.db is not a SQLite database" in refused(*TEACHER, "--workers", "3")


def test_a_store_of_another_program(refused, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "openwheel.db")) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    assert "openwheel.db" in refused(*TEACHER)


def test_a_folder_that_is_not_there(refused):
    assert "there is no folder nowhere" in refused(*TEACHER, "--db", "nowhere/openwheel.db")


IMPATIENT = """
from openwheel.store import Store
Store.open.__func__.__kwdefaults__["busy_seconds"] = 1.0
"""


@pytest.mark.parametrize("short", [True, pytest.param(False, marks=pytest.mark.evidence)])
def test_a_store_that_another_program_keeps_locked(refused, tmp_path, short):
    """Told once writers waited for half a minute, or for a second where Python begins with that."""
    path = tmp_path / "python"
    path.mkdir()
    if short:
        (path / "sitecustomize.py").write_text(IMPATIENT)
    places = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with contextlib.closing(sqlite3.connect(tmp_path / "openwheel.db")) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert "openwheel.db is locked" in refused(*TEACHER, PYTHONPATH=places)


def test_a_port_is_one_gateways_and_free_again_at_once(refused, up, teacher):
    first = up("--teacher", teacher().url, "--no-turns")
    said = refused(*TEACHER, "--port", str(first.port))
    assert f"Port {first.port} on 127.0.0.1 is already in use" in said
    assert first.ask("still there?").status == 200
    assert first.stop() == 0
    with contextlib.closing(listen("127.0.0.1", first.port)) as sock:
        assert sock.getsockname()[1] == first.port


def test_an_address_of_another_machine(refused):
    assert "Cannot listen on 192.0.2.1" in refused(*TEACHER, "--host", "192.0.2.1")


PUBLIC = ("--host", "0.0.0.0", "--no-turns")


def test_a_public_address_needs_keys(refused, up, teacher, tmp_path):
    public = ("--teacher", teacher().url, *PUBLIC)
    assert "openwheel keys create" in refused(*public)
    secret = run("keys", "create", "desk", cwd=tmp_path).stdout.strip()
    with_keys = up(*public)
    assert with_keys.ask("may I?").status == 401
    assert with_keys.ask("may I?", {"authorization": f"Bearer {secret}"}).status == 200


@pytest.mark.evidence
def test_or_the_word_of_the_operator_that_it_does_not(up, teacher, tmp_path):
    (tmp_path / "openwheel.toml").write_text("[access]\nrequire_keys = false\n")
    assert up("--teacher", teacher().url, *PUBLIC).ask("may I?").status == 200
