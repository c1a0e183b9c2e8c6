"""Each family behind the gateway, on tiny random weights: as a local teacher, and as a student."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from openwheel.gateway import create_app, gateway_thread
from openwheel.inference import Constraint
from openwheel.inference.remote import RemoteWriter
from openwheel.loop.adapters import Adapters
from openwheel.loop.serving import Decision, Pending
from openwheel.settings import LmSection
from openwheel.students.agreement import Agreement
from openwheel.students.lm.prompt import Asking
from openwheel.students.lm.student import LmSettings, LmStudent
from openwheel.teachers import HttpTeacher
from students.lm.conftest import train_tokenizer
from students.lm.families import each_family, tiny_config
from students.lm.made import SYSTEM, TASK

torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")
pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytestmark = [pytest.mark.filterwarnings("ignore")]

EASY = "Thing: red car\nColour:"


class OneStudent:
    """Asks a student about what fits its task, and leaves the rest to the teacher."""

    def __init__(self, student: LmStudent) -> None:
        self.student = student

    def refresh(self) -> bool:
        return False

    def decide(self, request, task="", key=""):
        inputs = TASK.match(request.prompt)
        if inputs is None:
            return Decision(reason="no task")

        def decided() -> Decision:
            text, confidence = self.student.answer_one(inputs)
            answer = text if confidence > 0 else None
            return Decision(answer=answer, task="colours", student="lm", confidence=confidence)

        return Pending(decided, Decision(task="colours", student="lm"), remote=True)


@pytest.fixture(scope="module")
def tokenizer():
    torch.set_num_threads(1)
    return train_tokenizer()


def save_family(model_type: str, tokenizer, folder: Path) -> None:
    import transformers

    torch.manual_seed(0)
    known = model_type if model_type in transformers.CONFIG_MAPPING else "deepseek_v3"
    made = transformers.AutoModelForCausalLM.from_config(tiny_config(known, tokenizer))
    made.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    if known != model_type:  # as its checkpoints have it
        config = folder / "base" / "config.json"
        config.write_text(config.read_text().replace('"deepseek_v3"', f'"{model_type}"'))


def save_random_adapter(folder: Path) -> None:
    from openwheel.engine.base import load_base
    from openwheel.students.lm.adapter import add_adapter, learned, save_adapter

    base = load_base(str(folder / "base"))
    model = add_adapter(base, LmSection(base=str(folder / "base"), rank=4))
    with torch.no_grad():
        for weight in learned(model).values():
            weight.normal_(0, 0.1)
    save_adapter(model, learned(model), folder / "adapter")


def ask(url: str, *messages: tuple[str, str], **fields) -> tuple[str, dict]:
    body = {
        "model": "base",
        "messages": [{"role": role, "content": text} for role, text in messages],
        **fields,
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return response.headers["x-openwheel-source"], json.load(response)


@pytest.mark.parametrize("model_type", each_family({"qwen3", "qwen3_5_text"}))
def test_family(model_type: str, tokenizer, tmp_path: Path) -> None:
    from openwheel.engine.base import load_base
    from openwheel.engine.engine import Engine
    from openwheel.engine.server import engine_thread

    save_family(model_type, tokenizer, tmp_path)
    save_random_adapter(tmp_path)
    with (
        Engine(load_base(str(tmp_path / "base")), name="base") as engine,
        engine_thread(engine, adapters=True) as url,
    ):
        writer = RemoteWriter(url)
        served = Adapters(lambda: writer).serve(tmp_path / "adapter")
        constraint = Constraint(choices=("blue", "red"))
        asking = Asking(template=TASK, form="label", constraint=constraint, max_tokens=16)
        student = LmStudent(
            LmSettings(asking=asking, answers=("blue", "red"), intercept=1.0, base="base"),
            Agreement(np.zeros(5), np.ones(5), np.zeros(5), 1.0),
            adapter=tmp_path / "adapter",
            writer=served.writer,
            model=served.model,
        )
        app = create_app(HttpTeacher(f"{url}/v1"), OneStudent(student), None)
        with gateway_thread(app) as gateway:
            source, answer = ask(gateway, ("user", "hello"), max_tokens=4)
            assert source == "teacher"
            assert answer["usage"]["completion_tokens"] >= 1
            source, answer = ask(gateway, ("system", SYSTEM), ("user", EASY))
            assert source == "student"
            assert answer["choices"][0]["message"]["content"] in {"blue", "red"}
        writer.close()
