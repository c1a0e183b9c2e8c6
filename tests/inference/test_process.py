"""A server in a real process, and `openwheel serve` as an operator runs it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from cli.runner import run
from inference.served import gguf_of
from openwheel.errors import EngineError, ModelError
from openwheel.inference import Ask
from openwheel.inference.base_file import base_file
from openwheel.inference.process import ServerProcess
from openwheel.inference.writer import Prompt

HELLO = [{"role": "user", "content": "the bank card"}]


def test_a_child_process_answers_a_writer_and_the_official_client(model_folder):
    serving = ServerProcess(str(gguf_of(model_folder)), name="tiny", threads=1, context=256)
    with serving as process:
        assert process.ready.models == ["tiny"]
        with contextlib.closing(process.writer()) as writer:
            asked = Ask(model="tiny", messages=(), prompt=Prompt("yes"), max_tokens=4)
            written, again = writer.write([asked, asked])
            assert written.text == again.text
            assert written.completion_tokens <= 4
        with openai.OpenAI(base_url=f"{process.ready.url}/v1", api_key="none") as client:
            asked = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 8}
            whole = client.chat.completions.create(**asked)
            chunks = client.chat.completions.create(**asked, stream=True)
            spelled = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert spelled == whole.choices[0].message.content
        libraries = mapped(process.pid)
        assert not [name for name in libraries if "torch" in name or "transformers" in name]
        child = children(process.pid)
        assert len(child) == 1
        assert any("xllamacpp" in name for name in mapped(child[0]))
    assert process.pid is None
    with pytest.raises(EngineError, match="has not been started"):
        _ = process.ready


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
    with pytest.raises(EngineError, match=r"cannot be served: The model .* has no config\.json"):
        ServerProcess(str(tmp_path)).start()


def test_it_ends_with_llama_cpp_when_its_parent_is_killed(model_folder):
    code = (
        "import sys, time\n"
        "from openwheel.inference.process import ServerProcess\n"
        "process = ServerProcess(sys.argv[1], threads=1, context=64)\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(gguf_of(model_folder))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        watched = [os.pidfd_open(pid) for pid in (child, *children(child))]
        parent.send_signal(signal.SIGKILL)
    assert len(watched) == 2
    for one in watched:  # the file of a process becomes readable when it ends
        assert select.select([one], [], [], 30)[0]
        os.close(one)


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
