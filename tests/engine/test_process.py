"""An engine in a real process, and `openwheel serve` as an operator runs it."""

import contextlib
import os
import signal
import subprocess
import sys

import openai
import pytest

from cli.runner import run
from openwheel.engine.process import EngineProcess
from openwheel.errors import EngineError
from openwheel.inference import Ask
from openwheel.wire import PromptMessage

HELLO = [{"role": "user", "content": "the bank card"}]


@pytest.mark.evidence
def test_a_child_process_answers_a_writer_and_the_official_client(model_folder):
    with EngineProcess(str(model_folder), name="tiny", threads=1, context=256) as process:
        assert process.models == ["tiny"]
        with contextlib.closing(process.writer()) as writer:
            asked = Ask(model="tiny", messages=(PromptMessage("user", "yes"),), max_tokens=4)
            written, again = writer.write([asked, asked])
            assert written.text == again.text
            assert written.completion_tokens <= 4
        with openai.OpenAI(base_url=f"{process.url}/v1", api_key="none") as client:
            asked = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 8}
            whole = client.chat.completions.create(**asked)
            chunks = client.chat.completions.create(**asked, stream=True)
            spelled = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert spelled == whole.choices[0].message.content
            with pytest.raises(openai.BadRequestError, match="must have 1 to 255 tokens"):
                client.chat.completions.create(
                    model="tiny", messages=[{"role": "user", "content": "the bank card " * 99}]
                )
        assert process.alive
    assert not process.alive
    with pytest.raises(EngineError, match="has not been started"):
        _ = process.url


@pytest.mark.evidence
def test_a_model_that_cannot_be_loaded_is_told_in_a_line(tmp_path):
    with pytest.raises(
        EngineError, match=r"could not be started: The model .* has no config\.json"
    ):
        EngineProcess(str(tmp_path)).start()


@pytest.mark.evidence
def test_the_engine_ends_when_its_parent_is_killed(model_folder, tmp_path):
    code = (
        "import sys, time\n"
        "from openwheel.engine.process import EngineProcess\n"
        "process = EngineProcess(sys.argv[1], threads=1)\n"
        "process.start()\n"
        "print(process._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(model_folder)], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        watched = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    # The file of a process becomes readable when it ends.
    import select

    assert select.select([watched], [], [], 30)[0]
    os.close(watched)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines"),
        (["--host", "0.0.0.0", "--allow-public", "--allow-adapters"], "needs a loopback address"),
        (["--adapter", "folder"], "--adapter must be NAME=FOLDER, was 'folder'"),
    ],
)
def test_what_must_not_be_is_refused_before_the_model_is_loaded(arguments, message, tmp_path):
    assert message in run("serve", "no-such-folder", *arguments, cwd=tmp_path, code=2).stderr
