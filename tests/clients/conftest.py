"""Runs real clients, each in its own environment, against a gateway."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clients.answers import KEY, answer
from clients.live import REFUND, WHERE, Live, live_gateway
from teacher import Teacher

HERE = Path(__file__).parent
# Beside this Python's own packages: `make test` puts them there, whatever VENV says.
ENVIRONMENTS = Path(sys.prefix) / "clients"

Client = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Serve one gateway to all clients."""
    with live_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="session")
def environment() -> Callable[[str], Path]:
    """Find a client's environment; skip if it was not made, which in CI is a failure."""

    def find(name: str) -> Path:
        folder = ENVIRONMENTS / name
        if name == "node" and shutil.which("node") is None:
            _absent("Node.js is not installed, so its clients are not tested")
        if not (ENVIRONMENTS / f".{name}").exists():
            _absent(f"{folder} is missing: `make clients` makes it")
        return folder

    return find


def _absent(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI it must be there")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def run_client(live: Live, environment: Callable[[str], Path]) -> Client:
    """Run a script against the gateway; return the JSON object it prints.

    A script is run once, for all who ask what it saw.
    """

    @functools.cache
    def run(script: str, name: str) -> dict[str, Any]:
        return run_script(script, environment(name), live.url)

    return run


@pytest.fixture
def same_without_a_gateway(
    run_client: Client, environment: Callable[[str], Path]
) -> Callable[[str, str], None]:
    """Check that a script sees the same of the teacher through a gateway and asking it directly."""

    def check(script: str, name: str) -> None:
        through = run_client(script, name)["teacher"]
        with Teacher(answer) as teacher:
            direct = run_script(script, environment(name), teacher.origin)["teacher"]
        assert _of_the_teacher(through) == _of_the_teacher(direct)

    return check


def _of_the_teacher(seen: Any) -> Any:
    """Leave out what the gateway adds: its headers, and what a student was asked beside."""
    if isinstance(seen, list):
        return [_of_the_teacher(value) for value in seen]
    if not isinstance(seen, dict):
        return seen
    return {
        name: _of_the_teacher(value)
        for name, value in seen.items()
        if name not in {"x-openwheel-source", "source", "student"}
    }


def run_script(
    script: str, environment: Path, url: str, arguments: Sequence[str] = (WHERE, REFUND)
) -> dict[str, Any]:
    """Run a script in an environment against a gateway; return the JSON object it prints."""
    path = HERE / "scripts" / script
    if path.suffix == ".mjs":
        # Node looks for packages beside the script.
        path = Path(shutil.copy(path, environment))
        program = "node"
    else:
        program = str(environment / "bin" / "python")
    # Of this process's own settings a script gets none that a client heeds.
    told = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": KEY,
        # Otherwise fetched from the internet on import.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(
        [program, str(path), *arguments],
        env=told,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
