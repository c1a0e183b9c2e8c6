"""A teacher that is a model on this machine: started, restarted and stopped with the gateway."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from inference.tiny import save_tiny

SETTINGS = """
[loop]
turns = false

[engine]
threads = 1
context = 256

[[teachers]]
url = "local:{folder}"
models = ["m"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENWHEEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("fails", [False, pytest.param(True, marks=pytest.mark.evidence)])
def test_a_local_model_answers_and_fails_and_ends_with_the_gateway(
    up, folder, tmp_path, wait_for, fails
):
    (tmp_path / "openwheel.toml").write_text(SETTINGS.format(folder=folder))
    gateway = up()
    first = gateway.ask("the bank card")
    assert first.status == 200, first.data
    reply = json.loads(first.data)
    assert reply["model"] == "m"
    assert reply["usage"]["completion_tokens"] > 0
    (last,) = gateway.children("engine")
    if fails:
        last = killed_and_changed(gateway, last, folder, tmp_path, wait_for)
    assert gateway.stop() == 0
    assert not gateway.is_alive(last)


def killed_and_changed(gateway, engine, folder, tmp_path, wait_for):
    """Kill the model, have its settings read again; return the process that runs it at last."""
    os.kill(engine, signal.SIGKILL)
    wait_for(lambda: not gateway.is_alive(engine))

    # Its socket is the supervisor's: who asks meanwhile waits until the model is loaded again. The
    # first may still meet the connection that broke.
    def answers():
        with contextlib.suppress(OSError):  # a busy machine may take longer than a client waits
            return gateway.ask("billing").status == 200

    wait_for(answers, seconds=120)
    (other,) = gateway.children("engine")
    assert other != engine

    changed = SETTINGS.format(folder=folder).replace("context = 256", "context = 64")
    (tmp_path / "openwheel.toml").write_text(changed)
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "read again" in gateway.log, seconds=120)
    wait_for(lambda: not gateway.is_alive(other))
    refused = gateway.ask("the bank card " * 120)  # llama.cpp rounds 64 up to 256 tokens
    assert refused.status == 400
    assert json.loads(refused.data)["error"]["code"] == "context_length_exceeded"
    (last,) = gateway.children("engine")
    return last


def test_a_model_that_cannot_be_run_is_told_and_nothing_is_left_running(tmp_path):
    (tmp_path / "no-model").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "openwheel", "up", "--teacher", f"local:{tmp_path}/no-model"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "has no config.json" in done.stderr
