"""Records by a tuned encoder: from training to a gateway's process, with an encoder made here."""

import json
import subprocess
import sys

import numpy as np
import pytest

from made_up_records import orders
from openwheel.errors import ModelError, StudentFileError
from openwheel.export.source import source_of
from openwheel.gate import judge, make_plan
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.settings import PolicySection
from openwheel.store import Store
from openwheel.students import load_student, save_student, train
from openwheel.students.encoder import SentenceEncoder
from openwheel.students.fields.drafts import Draft
from openwheel.students.onnx_encoder import TOKENIZER, Body
from openwheel.students.student import NotLearnedError
from openwheel.students.tokens.joint import Pairs, chosen
from openwheel.students.tokens.reader import TAGGER, TokenReader
from openwheel.students.tokens.words import first_tokens
from openwheel.students.tune.order import TokenRecipe, Tune
from openwheel.tasks import answer_in, canonical_answer
from openwheel.tasks.forms.call import written_call
from openwheel.trust import Policy
from openwheel.wire import Answer, ToolCall

RECIPE = TokenRecipe(batch=16, rate=5e-3, head_rate=1e-2, passes=3, fewest_steps=60)


def canonical(text):
    return canonical_answer(Answer(text), "record")


def taught(encoder, rows, **more):
    answers = [canonical(row["output"]) for row in rows]
    surfaces = dict(zip(answers, (row["output"] for row in rows), strict=True))
    inputs = [(row["input"],) for row in rows]
    given = {"form": "record", "surfaces": surfaces, "encoder": encoder, **more}
    return train("encoder", inputs, answers, variables=(0,), **given)


@pytest.fixture(scope="module")
def encoder(make_encoder):
    return SentenceEncoder(str(make_encoder()))


@pytest.fixture(scope="module")
def fitted(encoder):
    return taught(encoder, orders(240), tune=Tune(always=True, tokens=RECIPE))


@pytest.fixture
def saved(fitted, tmp_path):
    return tmp_path / "student", save_student(fitted.student, tmp_path / "student")


def test_it_learns_and_the_gate_certifies_it(fitted):
    student, rows = fitted.student, orders(400, seed=1)
    texts, confidence = student.answer([(row["input"],) for row in rows])
    same = [text == row["output"] for text, row in zip(texts, rows, strict=True)]
    assert np.mean(same) > 0.85
    assert fitted.agrees.mean() > 0.85
    assert len(fitted.rows) == 240
    plan = make_plan(
        fitted.confidence, 1.0 - fitted.agrees, epsilon=0.1, delta=0.05, calibration=400
    )
    agrees = [
        bool(text) and canonical(text) == canonical(row["output"])
        for text, row in zip(texts, rows, strict=True)
    ]
    losses = 1.0 - np.array(agrees, np.float64)
    found = judge(confidence, losses, np.arange(400), plan, epsilon=0.1, delta=0.05)
    assert found.chosen is not None
    answered = confidence >= found.tests[found.chosen].threshold
    assert answered.mean() > 0.5


def test_one_by_one_as_in_a_batch(fitted):
    odd = [("",), ("?!",), ("\ud800 x",), ("word " * 2_000,)]
    new = [(row["input"],) for row in orders(12, seed=1)] + odd
    texts, confidence = fitted.student.answer(new)
    for i, values in enumerate(new):
        text, sure = fitted.student.answer_one(values)
        assert text == texts[i]
        assert abs(sure - confidence[i]) < 1e-5
    assert confidence[-4:].max() == 0


def test_words_that_the_encoder_does_not_reach_are_read_by_the_tagger(fitted):
    """The encoder reads 64 tokens, fewer than these letters are."""
    text, record = orders(1, seed=1)[0].values()
    said, _ = fitted.student.answer_one((f"{text} , {'thank you ' * 20}",))
    assert not said or json.loads(said).keys() == json.loads(record).keys()


def test_saved_and_loaded_it_is_the_same(saved, fitted):
    folder, hashes = saved
    assert {TAGGER, TOKENIZER} <= set(hashes)
    loaded = load_student(folder, hashes)
    new = [(row["input"],) for row in orders(30, seed=2)]
    texts, confidence = fitted.student.answer(new)
    again = loaded.answer(new)
    assert again.texts == texts
    np.testing.assert_array_equal(again.confidence, confidence)
    assert loaded.base() == fitted.student.base()
    with pytest.raises(StudentFileError, match="copy its folder"):
        save_student(loaded, folder.parent / "copy")


ANSWER = """
import json, sys
from pathlib import Path
from openwheel.students import load_student
student = load_student(Path(sys.argv[1]), json.loads(sys.argv[2]))
text, confidence = student.answer_one((sys.argv[3],))
heavy = {"torch", "transformers", "sklearn", "onnx", "pandas"} & set(sys.modules)
print(json.dumps([text, confidence, sorted(heavy)]))
"""


def test_it_answers_without_torch(saved, fitted):
    folder, hashes = saved
    text = orders(1, seed=1)[0]["input"]
    command = [sys.executable, "-W", "error", "-c", ANSWER, str(folder), json.dumps(hashes), text]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [*fitted.student.answer_one((text,)), []]


def test_its_graph_is_not_exported_as_that_of_the_encoder(saved):
    with pytest.raises(ModelError, match=f"its tuned encoder is {TAGGER} there"):
        source_of(saved[0])


@pytest.mark.parametrize("name", [TAGGER, TOKENIZER])
def test_a_changed_or_missing_file_is_refused(saved, name):
    folder, hashes = saved
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(StudentFileError, match=f"{name} was changed"):
        load_student(folder, hashes)
    (folder / name).unlink()
    with pytest.raises(StudentFileError, match=f"{name} is missing"):
        load_student(folder, hashes)


@pytest.mark.parametrize(
    "part", ["picks.second.mean", "joint.logistic.scale", "tagger.weights", "phrases.keys"]
)
def test_parts_that_are_missing_are_named(fitted, part):
    settings, arrays = fitted.student.state()
    del arrays[part]
    with pytest.raises(StudentFileError, match=part):
        type(fitted.student).from_state(settings, arrays, fitted.student.reader)


def test_parts_that_do_not_fit_are_named(fitted):
    settings, arrays = fitted.student.state()
    broken = type(fitted.student).from_state
    with pytest.raises(StudentFileError, match=f"{TAGGER} is not the encoder"):
        broken({**settings, "encoder_fingerprint": "0" * 64}, arrays, fitted.student.reader)
    record = {**settings["record"], "tags": settings["record"]["tags"][:-1]}
    with pytest.raises(StudentFileError, match="do not fit"):
        broken({**settings, "record": record}, arrays, fitted.student.reader)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_files_that_are_no_tagger(fitted, content):
    body = fitted.student.reader.body
    with pytest.raises(StudentFileError, match=TAGGER):
        TokenReader(Body(content, body.tokenizer))
    with pytest.raises(StudentFileError, match=TOKENIZER):
        TokenReader(Body(body.graph, content))


@pytest.mark.parametrize(
    ("more", "rows", "said"),
    [
        ({"tune": None}, 60, 'tune_encoder = "never"'),
        ({"tune": Tune(tokens=RECIPE)}, 60, "at least 200 different texts, there are 60"),
    ],
)
def test_what_it_needs_is_said(encoder, more, rows, said):
    with pytest.raises(NotLearnedError, match=said):
        taught(encoder, orders(rows), **more)


def test_where_the_tagger_is_right_the_encoder_is_not_tuned(encoder):
    rows = [
        {"input": row["input"], "output": json.dumps({"count": json.loads(row["output"])["count"]})}
        for row in orders(220)
    ]
    with pytest.raises(NotLearnedError, match="heads and tagger alone agree on"):
        taught(encoder, rows, tune=Tune(tokens=RECIPE))


def test_the_surer_record_that_can_be_sent_is_taken():
    first, second = ([Draft({"by": name}, [], 0)] * 4 for name in ("tagger", "encoder"))
    pairs = Pairs(first, second, np.zeros((4, 2)))
    logits = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])
    able = np.array([[True, True], [True, True], [True, False], [False, True]])
    drafts, features = chosen(pairs, logits, able)
    assert [draft.record["by"] for draft in drafts] == ["encoder", "tagger", "tagger", "encoder"]
    assert features.shape == (4, 6)
    np.testing.assert_array_equal(features[:, -1], [1, 0, 0, 1])
    np.testing.assert_array_equal(features[:, -2], [2, 2, 1, 1])  # the odds of what is taken


def test_words_and_tokens_that_do_not_meet():
    words = [(0, 5), (6, 7), (8, 9)]
    assert first_tokens([], words) == [-1, -1, -1]
    assert first_tokens([(0, 9)], words) == [0, 0, 0]
    assert first_tokens([(0, 0), (0, 2), (2, 5), (5, 7), (7, 8)], words) == [1, 3, -1]
    assert first_tokens([(6, 7)], words) == [-1, 0, -1]
    assert first_tokens([(0, 5)], []) == []


SERVE = """
import json, sys
from pathlib import Path
import openwheel.teachers, openwheel.gateway
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing, settled
from openwheel.store import Store
from openwheel.wire import APIS
with Store.open(Path(sys.argv[1])) as store:
    serving = RegistryServing(Registry(store))
    answers = []
    for text in json.loads(sys.argv[2]):
        body = {"messages": [{"role": "user", "content": text}]}
        decision = settled(serving.decide(APIS["chat"].read_request(json.dumps(body).encode())))
        answers.append([decision.answer, decision.student])
heavy = {"torch", "transformers", "sklearn", "onnx"} & set(sys.modules)
print(json.dumps([answers, sorted(heavy)]))
"""


@pytest.mark.evidence
def test_from_a_log_to_a_gateway_without_torch(make_encoder, tmp_path):
    """The encoder is tuned by the recipe of the product, and the student certified."""
    folder = str(make_encoder())
    policy = Policy(section=PolicySection(models={folder: "Apache-2.0"}))
    settings = LoopSettings(
        rungs=("encoder",), encoder=folder, tune_encoder="always", policy=policy
    )
    rows, new = orders(900), orders(20, seed=5)
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
        found = learn(
            store,
            settings,
            source="made up",
            resources=Resources(encoder=SentenceEncoder(folder)),
        ).tasks
    assert [(one.form, one.rung, one.certified) for one in found] == [("record", "encoder", True)]
    texts = json.dumps([row["input"] for row in new])
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(path), texts], capture_output=True, text=True, check=True
    )
    answers, heavy = json.loads(done.stdout)
    assert heavy == []
    given = [(text, row["output"]) for (text, _), row in zip(answers, new, strict=True) if text]
    assert len(given) > 10
    assert all(text == wanted for text, wanted in given)


@pytest.mark.evidence
def test_calls_of_tools_are_learned_too(encoder):
    rows = orders(300)
    calls = []
    for row in rows:
        record = json.loads(row["output"])
        arguments = {"name": record["customer"]["name"], "count": record["count"]}
        calls.append(Answer("", (ToolCall(record["kind"], json.dumps(arguments)),), "tool_calls"))
    answers = [canonical_answer(call, "tool_call") for call in calls]
    fitted = train(
        "encoder",
        [(row["input"],) for row in rows],
        answers,
        variables=(0,),
        form="tool_call",
        surfaces=dict(zip(answers, map(written_call, calls), strict=True)),
        encoder=encoder,
        tune=Tune(always=True, tokens=RECIPE),
    )
    new = orders(40, seed=1)
    texts, _ = fitted.student.answer([(row["input"],) for row in new])
    right = 0
    for text, row in zip(texts, new, strict=True):
        record = json.loads(row["output"])
        told = answer_in(text, "tool_call").tool_calls if text else ()
        right += [call.name for call in told] == [record["kind"]]
    assert right > 30
