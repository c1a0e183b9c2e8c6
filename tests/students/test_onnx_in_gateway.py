"""A promoted student with an encoder in ONNX, served as a gateway's worker does."""

import json
import subprocess
import sys

import pytest

from made_up import tickets, write_log
from openwheel.loop.learn import learn
from openwheel.loop.settings import LoopSettings
from openwheel.loop.tools import Tools
from openwheel.students.onnx_encoder import GRAPH
from openwheel.students.tune.tuning import onnx_encoder
from openwheel.traffic import LogProblems, Store, read_log

pytestmark = pytest.mark.slow

SERVE = """
import json, sys
from pathlib import Path
import openwheel.endpoints, openwheel.gateway
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing, settled
from openwheel.traffic import Store
from openwheel.wire import Prompt, PromptMessage, Request
with Store.open(Path(sys.argv[1])) as store:
    serving = RegistryServing(Registry(store))
    text = "invoice payment refund tax amount 4711"
    prompt = Prompt(messages=(PromptMessage("user", text),))
    decision = settled(serving.decide(Request(prompt=prompt)))
heavy = {"torch", "transformers", "sklearn", "onnx"} & set(sys.modules)
print(json.dumps([decision.answer, decision.student, sorted(heavy)]))
"""


def test_no_torch_is_imported(make_encoder, tmp_path):
    folder = str(make_encoder())
    settings = LoopSettings(rungs=("encoder",), encoder=folder, tune_encoder="never")
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        log = write_log(tmp_path / "log.jsonl", tickets(1_500))
        store.append(list(read_log(log, problems=LogProblems())))
        (found,) = learn(
            store, settings, source="made up", tools=Tools(encoder=onnx_encoder(folder))
        ).tasks
    assert found.certified, found.reason
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(path)], capture_output=True, text=True, check=True
    )
    answer, student, heavy = json.loads(done.stdout)
    assert (answer, heavy) == ("billing", [])
    assert list(tmp_path.rglob(f"{student}/{GRAPH}"))
