"""The rung ``lm`` in the loop: trained, judged, certified, promoted and served, on a tiny model."""

import contextlib
import json

import pytest

from inference.served import gguf_of, random_adapter, writer_of
from openwheel.errors import EngineError
from openwheel.gate import verify
from openwheel.inference import Ask, Constraint
from openwheel.inference.writer import Prompt
from openwheel.loop.adapters import Adapters
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources, adapters_of
from openwheel.loop.serving import RegistryServing, settled
from openwheel.loop.settings import LoopSettings
from openwheel.settings import EngineSection, LmSection, PolicySection, TaskSection
from openwheel.trust import Policy
from openwheel.wire import APIS
from students.lm.conftest import fit_trains, make_base, tiny_base, train  # noqa: F401 - fixtures
from students.lm.made import exchanges

pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytestmark = [pytest.mark.usefixtures("fit_trains")]

ASKED = "Thing: {}\nColour, as JSON:"


@pytest.fixture(scope="module")
def engine(tiny_base):  # noqa: F811
    with writer_of(tiny_base) as running:
        yield running


def settings(base, **changes) -> LoopSettings:
    lm = LmSection(base=str(base), epochs=4, learning_rate=5e-3, threads=1)
    policy = Policy(section=PolicySection(models={str(base): "Apache-2.0"}))
    return LoopSettings(rungs=("lm",), lm=lm, epsilon=0.1, policy=policy, **changes)


def rows(n: int, written, *, seed: int = 0) -> list[dict[str, str]]:
    inputs, answers = exchanges(n, seed=seed)
    return [
        {"input": ASKED.format(values[0]), "output": written(answer)}
        for values, answer in zip(inputs, answers, strict=True)
    ]


def request(text: str):
    body = {"messages": [{"role": "user", "content": text}]}
    return APIS["chat"].read_request(json.dumps(body).encode())


def test_records_are_learned_certified_and_served_as_the_teacher_writes_them(
    store,
    registry,
    fill,
    tiny_base,  # noqa: F811
    engine,
):
    def written(colour: str) -> str:
        return f'{{"colour":  "{colour}"}}'  # two spaces: the teacher's own style

    fill([{**row, "task": "colours"} for row in rows(450, written)])
    adapters = Adapters(lambda: engine)
    # Without it they would be labels: there are few colours.
    by_fields = settings(tiny_base, tasks={"colours": TaskSection(compare="fields")})
    findings = learn(store, by_fields, source="made up", resources=Resources(adapters=adapters))
    (finding,) = findings.tasks
    assert (finding.form, finding.rung) == ("record", "lm"), finding.reason
    assert finding.certified, finding.reason
    (certificate,) = registry.certificates()
    assert verify(certificate).holds
    assert certificate.coverage > 0.5

    serving = RegistryServing(registry, Resources(adapters=Adapters(lambda: engine)))
    asked = rows(40, written, seed=1)
    decisions = [serving.decide(request(row["input"]), "colours") for row in asked]
    assert all(decision.remote for decision in decisions)
    answers = [settled(decision).answer for decision in decisions]
    right = [
        json.loads(answer) == json.loads(row["output"])
        for answer, row in zip(answers, asked, strict=True)
        if answer is not None
    ]
    assert len(right) > 20
    assert sum(right) >= 0.8 * len(right)

    # An engine that was started again has lost its adapters, and is given them.
    for name in engine.models():
        if name.startswith("openwheel-"):
            engine.unload_adapter(name)
    again = [settled(serving.decide(request(row["input"]), "colours")).answer for row in asked[:10]]
    assert again == answers[:10]

    # Where no engine answers, the task goes to the teacher, until one does.
    def nobody():
        if not there:
            raise EngineError("nobody is there")
        return engine

    there: list[bool] = []
    waiting = RegistryServing(registry, Resources(adapters=Adapters(nobody)))
    assert waiting.students() == {}
    assert waiting.decide(request(asked[0]["input"]), "colours").reason == "no student"
    there.append(True)
    assert waiting.refresh()
    assert list(waiting.students().values()) == [certificate.student]


@pytest.mark.evidence
def test_texts_are_learned_once_a_comparison_is_chosen(
    store,
    registry,
    fill,
    tiny_base,  # noqa: F811
    engine,
):
    def written(colour: str) -> str:
        return f"The thing is {colour}.\nSo the colour is {colour}."

    fill(rows(450, written))
    resources = Resources(adapters=Adapters(lambda: engine))
    left = learn(store, settings(tiny_base), source="made up", resources=resources).tasks[0]
    assert left.form == "text"
    assert not left.certified
    chosen = {left.name: TaskSection(compare="rouge:0.9")}
    findings = learn(
        store, settings(tiny_base, tasks=chosen), source="made up", resources=resources
    )
    (finding,) = findings.tasks
    assert finding.certified, finding.reason
    (certificate,) = registry.certificates()
    assert certificate.compared is not None
    assert certificate.compared.setting == "rouge:0.9"
    assert "rouge:0.9" in certificate.statement
    assert verify(certificate).holds


def test_where_no_server_has_the_base_llama_cpp_is_started_for_the_first_adapter(
    tiny_base,  # noqa: F811
    tmp_path,
):
    adapter = random_adapter(tiny_base, tmp_path)
    lm = LmSection(base="the/base", gguf=str(gguf_of(tiny_base)))
    with contextlib.ExitStack() as stack:
        adapters = adapters_of(lm, EngineSection(threads=1, precision="f32"), stack)
        served = adapters.serve(adapter)
        chosen = Constraint(choices=("blue", "red"))
        ask = Ask(model=served.model, messages=(), prompt=Prompt("x"), constraint=chosen)
        (written,) = served.writer.write([ask])
        assert written.text in {"blue", "red"}
        adapters.sweep(set())
        assert served.writer.write([ask]) == [written]  # loaded again for who still asks
    with pytest.raises(EngineError, match="cannot be reached"):
        served.writer.write([ask])
