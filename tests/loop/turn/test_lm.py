"""The rung ``lm`` in the loop: trained, judged, certified, promoted and served, on a tiny model."""

import contextlib
import json
import re

import msgspec
import pytest

from cli.runner import run
from inference.served import gguf_of, random_adapter, writer_of
from made_up import tickets
from openwheel.errors import EngineError, SettingError, StudentFileError
from openwheel.gate import spent, verify
from openwheel.inference import Ask, Constraint
from openwheel.inference.writer import Prompt
from openwheel.loop.adapters import Adapters
from openwheel.loop.by_hand import promote_by_hand, shadow_by_hand
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources, adapters_of
from openwheel.loop.serving import RegistryServing, settled
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
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
    by_fields = settings(tiny_base, tasks={"colours": TaskSection(loss="fields")})
    findings = learn(store, by_fields, source="made up", resources=Resources(adapters=adapters))
    (finding,) = findings.tasks
    assert (finding.form, finding.rung) == ("record", "lm"), finding.reason
    assert finding.certified, finding.reason
    (certificate,) = registry.certificates()
    assert verify(certificate).holds
    assert certificate.coverage > 0.5

    registry.demote(certificate.task, by="user", reason="to be put back")
    assert promote_by_hand(registry, by_fields, "colours") == certificate  # without an engine

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


def test_a_refused_student_is_kept_listed_and_shadows_later(
    store,
    registry,
    fill,
    tiny_base,  # noqa: F811
    engine,
    tmp_path,
):
    def asked(n: int, seed: int) -> list[dict[str, str]]:
        return [{**row, "task": "colours"} for row in rows(n, str, seed=seed)]

    fill(asked(130, 0))  # 32 of them to judge with, and one more is needed at the least
    resources = Resources(adapters=Adapters(lambda: engine))
    chosen = settings(tiny_base)
    chosen = msgspec.structs.replace(chosen, lm=msgspec.structs.replace(chosen.lm, epochs=10))
    for _ in range(2):  # the second time the training that is done is not done again
        (finding,) = learn(store, chosen, source="made up", resources=resources).tasks
        assert "No share of delta was spent" in finding.reason
        ((kept, state, _),) = registry.candidates()
        assert (state, kept.rung, kept.attempt, kept.delta_spent) == ("refused", "lm", 0, 0.0)
        assert kept.refused == finding.reason
        folders = list(registry.files.folder(kept.id).parent.iterdir())
        assert {path.name for path in folders} == {kept.id, ".training"}  # the latest alone
    assert registry.judged_until(kept.task_id) == 0
    listed = run("students", "--db", store.path, cwd=tmp_path).stdout
    assert f"{kept.id}: Refused: training predicts" in listed.replace("\n", " ")

    shadowing, before = shadow_by_hand(registry, chosen, kept.id[:6])
    assert before is None
    assert (shadowing.attempt, shadowing.judged_after) == (1, 130)
    assert shadowing.delta_spent == pytest.approx(spent(chosen.delta, 1))
    with pytest.raises(SettingError, match="in the state shadow"):
        shadow_by_hand(registry, chosen, kept.id)
    fill(asked(60, 1))
    registry.set_trained_on(kept.task_id, 190)
    events = turn(store, chosen, resources=resources).events
    assert [event.kind for event in events] in (["shadowing"], ["promoted"]), events
    ((judged, _, _),) = registry.candidates()
    assert judged.id == kept.id
    assert registry.find_task("colours").attempts == 1

    registry.refuse(judged, "given up")
    adapter = registry.files.folder(kept.id) / "adapter" / "adapter.gguf"
    adapter.write_bytes(b"other")
    with pytest.raises(StudentFileError, match=r"adapter.gguf was changed"):
        shadow_by_hand(registry, chosen, kept.id)


def test_it_is_not_tried_unasked_where_a_cheaper_rung_covers_the_most(
    store, registry, fill, engine
):
    fill(tickets(1_000))
    resources = Resources(adapters=Adapters(lambda: engine))
    named = msgspec.structs.replace(settings("/nowhere"), rungs=("linear", "lm"))
    unasked = msgspec.structs.replace(named, rungs_named=False)
    (finding,) = learn(store, unasked, source="made up", resources=resources).tasks
    assert (finding.rung, finding.certified) == ("linear", True)
    (warning,) = [text for text in finding.warnings if "rung lm" in text]
    assert re.search(r"left out: linear is predicted to cover \d+\.\d%.*loop.rungs", warning)
    # What could not be learned is told of the same rung where it is tried.
    fill(tickets(400, seed=1))
    (finding,) = learn(store, named, source="made up", resources=resources).tasks
    (warning,) = [text for text in finding.warnings if "rung lm" in text]
    assert "must be a folder or an id of the hub" in warning


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
