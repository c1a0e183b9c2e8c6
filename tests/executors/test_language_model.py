"""A language model's adapter that a child process trains and asks, with an engine of its own."""

import contextlib

import pytest

from executors.test_elsewhere import Children
from inference.served import gguf_of
from many_tasks import exchanges_of, learned
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources, adapters_of
from openwheel.loop.settings import LoopSettings
from openwheel.settings import EngineSection, LmSection, PolicySection
from openwheel.store import Store
from openwheel.students.lm.student import ADAPTER
from openwheel.trust import Policy
from students.lm.conftest import make_base, tiny_base  # noqa: F401 - fixtures
from students.lm.made import exchanges

pytest.importorskip("peft", reason="the extra `lm` is not installed")


@pytest.mark.evidence
def test_it_is_judged_and_saved_by_the_learner(tmp_path, tiny_base):  # noqa: F811
    base = str(tiny_base)
    settings = LoopSettings(
        rungs=("lm",),
        lm=LmSection(
            base=base, gguf=str(gguf_of(tiny_base)), epochs=4, learning_rate=5e-3, threads=1
        ),
        engine=EngineSection(threads=1, precision="f32"),
        policy=Policy(section=PolicySection(models={base: "Apache-2.0"})),
        epsilon=0.4,  # so small a model learns little
    )
    rows = [
        {"input": f"Thing: {values[0]}", "output": colour}
        for values, colour in zip(*exchanges(450), strict=True)
    ]
    children = Children()
    with Store.open(tmp_path / "openwheel.db") as store, contextlib.ExitStack() as stack:
        store.append(exchanges_of("colours", rows))
        adapters = adapters_of(settings.lm, settings.engine, stack)
        resources = Resources(adapters=adapters, executor=children)
        [finding] = learn(store, settings, source="made up", resources=resources).tasks
        assert children.started == ["Training a student of the task colours"]
        assert (finding.rung, finding.certified) == ("lm", True), finding.reason
        [(_, _, _, files, *_)] = learned(store)
    assert f"{ADAPTER}/adapter_model.safetensors" in files
