"""A server in a real process, and `openwheel serve` as an operator runs it."""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from cli.runner import run
from inference.served import gguf_of
from openwheel.errors import EngineError, ModelError
from openwheel.inference.base_file import base_file
from openwheel.inference.remote import RemoteWriter

HELLO = [{"role": "user", "content": "the bank card"}]


@contextlib.contextmanager
def served(*arguments):
    """Run `openwheel serve`; yields its process and what it says once it answers."""
    command = [sys.executable, "-m", "openwheel", "serve", *arguments, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()


def test_it_answers_the_official_client_without_torch_and_ends_when_told(model_folder):
    options = ("--name", "tiny", "--threads", "1", "--context", "256")
    with served(str(gguf_of(model_folder)), *options) as (process, said):
        assert said["models"] == ["tiny"]
        with openai.OpenAI(base_url=f"{said['url']}/v1", api_key="none") as client:
            asked = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 8}
            whole = client.chat.completions.create(**asked)
            chunks = client.chat.completions.create(**asked, stream=True)
            spelled = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert spelled == whole.choices[0].message.content
        refused = pytest.raises(EngineError, match="status 403: Adapters cannot be changed here")
        with contextlib.closing(RemoteWriter(said["url"])) as writer, refused:
            writer.load_adapter("a", model_folder)
        libraries = mapped(process.pid)
        assert not [name for name in libraries if "torch" in name or "numpy" in name]
        (llama,) = children(process.pid)
        assert any("xllamacpp" in name for name in mapped(llama))
        ended = os.pidfd_open(llama)
    assert process.returncode == 0
    assert select.select([ended], [], [], 30)[0]
    os.close(ended)


def mapped(pid: int) -> list[str]:
    """Return the files that a process has in memory."""
    return [line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.evidence
def test_a_folder_is_written_as_gguf_once_and_a_changed_one_anew(
    model_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENWHEEL_CACHE", str(tmp_path))
    file = base_file(str(model_folder), precision="q8_0")
    assert file.parent == tmp_path / "gguf"
    made = file.stat().st_mtime_ns
    assert base_file(str(model_folder), precision="q8_0") == file
    assert file.stat().st_mtime_ns == made
    assert base_file(str(file)) == file
    config = model_folder / "generation_config.json"
    before = config.read_bytes()
    try:
        config.write_bytes(before + b"\n")
        assert base_file(str(model_folder), precision="q8_0") != file
    finally:
        config.write_bytes(before)
    with pytest.raises(ModelError, match="There is no GGUF file"):
        base_file("no.gguf")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "other" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"cannot be written for llama\.cpp: .*gpt2"):
        base_file(str(tmp_path / "other"))
    assert not list((tmp_path / "gguf").glob("*.part"))


def test_a_model_that_cannot_be_served_is_told_in_a_line(tmp_path):
    said = run("serve", str(tmp_path), cwd=tmp_path, code=2).stderr
    assert "has no config.json" in said
    assert "Traceback" not in said


def test_llama_cpp_ends_when_what_started_it_is_killed(model_folder):
    with served(str(gguf_of(model_folder)), "--threads", "1", "--context", "64") as (process, _):
        (llama,) = children(process.pid)
        watched = os.pidfd_open(llama)
        process.kill()
        assert select.select([watched], [], [], 30)[0]  # readable when it has ended
        os.close(watched)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines"),
        (["--host", "0.0.0.0", "--allow-public", "--allow-adapters"], "needs a loopback address"),
        (["--precision", "float32"], "--precision must be one of f32, bf16, f16, q8_0"),
        (["--adapter", "folder"], "--adapter must be NAME=FOLDER, was 'folder'"),
    ],
)
def test_what_must_not_be_is_refused_before_the_model_is_loaded(arguments, message, tmp_path):
    assert message in run("serve", "no-such-folder", *arguments, cwd=tmp_path, code=2).stderr
