"""Schemathesis against a live gateway: nothing a client sends makes it fail."""

import json
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from clients.answers import KEY
from clients.live import live_gateway

DOCUMENT = Path(__file__).with_name("openapi.yaml")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.mark.parametrize("examples", [2, pytest.param(80, marks=pytest.mark.evidence)])
def test_no_request_makes_the_gateway_fail(environment, tmp_path, examples):
    """Right and wrong requests alike get an answer of the documented shape, and never a 5xx.

    The scripted teacher has no 5xx of its own for them, so any would be the gateway's, as would a
    connection that is dropped or an answer that takes longer than the timeout.
    """
    command = [
        str(environment("schemathesis") / "bin" / "st"),
        "run",
        str(DOCUMENT),
        f"--header=Authorization: Bearer {KEY}",
        f"--checks={','.join(CHECKS)}",
        "--phases=examples,coverage,fuzzing",
        "--seed=1",
        f"--max-examples={examples}",
        "--request-timeout=20",
        "--no-color",
    ]
    # Half of all texts: the student must hold where the teacher does.
    with live_gateway(tmp_path, answers=lambda text: len(text) % 2 == 1) as live:
        done = subprocess.run(
            [*command, f"--url={live.url}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        with urlopen(f"{live.url}/healthz") as response:
            health = json.load(response)
    assert done.returncode == 0, done.stdout + done.stderr
    assert health["status"] == "ok"
    assert health["requests"]["student"] > 20
    assert health["requests"]["teacher"] > 20
    assert health["requests"]["teacher_errors"] == 0
