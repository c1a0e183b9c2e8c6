import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from made_up import tickets, write_log
from openwheel.errors import ModelError, StudentFileError
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.settings import PolicySection
from openwheel.store import Store
from openwheel.students import load_student, save_student, train
from openwheel.students.encoder import SentenceEncoder
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, Body, Encoders, OnnxEncoder
from openwheel.students.tune.tuning import onnx_encoder
from openwheel.trust import Policy

from .conftest import onnx_here
from .samples import HOSTILE, traffic

TEXTS = [text for (text,) in traffic(60, 5)[0]]


@pytest.fixture(scope="module")
def folder(make_encoder):
    return str(make_encoder())


@pytest.fixture(scope="module")
def encoder(folder):
    return onnx_here(folder, TEXTS)


@pytest.fixture(scope="module")
def student(encoder):
    return train("encoder", *traffic(80, 3), variables=(0,), encoder=encoder).student


@pytest.fixture
def saved(student, tmp_path):
    return tmp_path / "student", save_student(student, tmp_path / "student")


def test_vectors_are_torchs_but_for_their_precision(encoder, folder):
    wanted = SentenceEncoder(folder).embed(TEXTS)
    found = encoder.embed(TEXTS)
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert (found * wanted).sum(axis=1).mean() > 0.98


@pytest.mark.evidence
@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_pooling_is_in_the_graph(make_encoder, pooling):
    declared = {"cls": "cls_token", "last": "lasttoken"}[pooling]
    folder = make_encoder(pooling=f'{{"pooling_mode_{declared}": true}}')
    wanted = SentenceEncoder(str(folder)).embed(TEXTS)
    assert (onnx_here(folder, TEXTS).embed(TEXTS) * wanted).sum(axis=1).mean() > 0.98


def test_a_text_has_the_same_vector_in_any_company(encoder):
    together = encoder.embed([*TEXTS, "a" * 500])
    for row in (0, 17, len(TEXTS)):
        np.testing.assert_array_equal(encoder.embed([[*TEXTS, "a" * 500][row]])[0], together[row])


def test_threads_get_what_one_would(encoder):
    wanted = encoder.embed(TEXTS)
    found = {}

    def ask(name):
        found[name] = encoder.embed(TEXTS)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for vectors in found.values():
        np.testing.assert_array_equal(vectors, wanted)


def test_odd_texts(encoder):
    texts = [" ".join(values) for values in HOSTILE]
    vectors = encoder.embed(texts)
    assert np.isfinite(vectors).all()
    long = " ".join(["topic"] * 5_000)
    np.testing.assert_array_equal(encoder.embed([long]), encoder.embed([long + " and more"]))
    assert encoder.embed([]).shape == (0, 48)


def test_a_text_without_tokens_has_no_direction(encoder):
    bare = json.loads(encoder.body.tokenizer)
    bare["post_processor"] = None  # no [CLS], no [SEP]
    other = OnnxEncoder("bare", Body(encoder.body.graph, json.dumps(bare).encode()))
    empty, word = other.embed(["", "topic"])
    assert not empty.any()
    assert np.linalg.norm(word) == pytest.approx(1, abs=1e-5)


def test_a_student_has_its_encoder_with_it(saved, student, encoder):
    folder, hashes = saved
    assert {GRAPH, TOKENIZER} <= set(hashes)
    assert (folder / GRAPH).read_bytes() == encoder.body.graph
    loaded = load_student(folder, hashes)
    inputs = traffic(40, 3, seed=1)[0]
    np.testing.assert_array_equal(
        loaded.predict(inputs).confidence, student.predict(inputs).confidence
    )


ANSWER = """
import json, sys
from pathlib import Path
from openwheel.students import load_student
student = load_student(Path(sys.argv[1]), json.loads(sys.argv[2]))
label, confidence = student.predict_one((sys.argv[3],))
heavy = {"torch", "transformers", "sklearn", "onnx", "pandas"} & set(sys.modules)
print(json.dumps([student.answers[label], confidence, sorted(heavy)]))
"""


def test_it_answers_without_torch(saved, student):
    folder, hashes = saved
    (text,) = traffic(40, 3, seed=1)[0][0]
    command = [sys.executable, "-W", "error", "-c", ANSWER, str(folder), json.dumps(hashes), text]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer, confidence, heavy = json.loads(done.stdout)
    label, wanted = student.predict_one((text,))
    assert (answer, confidence, heavy) == (student.answers[label], wanted, [])


SERVE = """
import json, sys
from pathlib import Path
import openwheel.teachers, openwheel.gateway
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing, settled
from openwheel.store import Store
from openwheel.wire import Prompt, PromptMessage, Request
with Store.open(Path(sys.argv[1])) as store:
    serving = RegistryServing(Registry(store))
    text = "invoice payment refund tax amount 4711"
    prompt = Prompt(messages=(PromptMessage("user", text),))
    decision = settled(serving.decide(Request(prompt=prompt)))
heavy = {"torch", "transformers", "sklearn", "onnx"} & set(sys.modules)
print(json.dumps([decision.answer, decision.student, sorted(heavy)]))
"""


def test_a_gateway_serves_it_without_torch(encoder, tmp_path):
    policy = Policy(section=PolicySection(models={encoder.name: "Apache-2.0"}))
    settings = LoopSettings(
        rungs=("encoder",), encoder=encoder.name, tune_encoder="never", policy=policy
    )
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        log = write_log(tmp_path / "log.jsonl", tickets(1_500))
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
        (found,) = learn(
            store, settings, source="made up", resources=Resources(encoder=encoder)
        ).tasks
    assert found.certified, found.reason
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(path)], capture_output=True, text=True, check=True
    )
    answer, student, heavy = json.loads(done.stdout)
    assert (answer, heavy) == ("billing", [])
    assert list(tmp_path.rglob(f"{student}/{GRAPH}"))


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER])
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


def test_an_encoder_that_nobody_vouches_for_is_not_read(saved):
    folder, hashes = saved
    del hashes[GRAPH]
    with pytest.raises(StudentFileError, match="not the one this student was trained with"):
        load_student(folder, hashes)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 64])
def test_files_that_are_no_encoder(encoder, content):
    with pytest.raises(StudentFileError, match=GRAPH):
        OnnxEncoder("any", Body(content, encoder.body.tokenizer))
    with pytest.raises(StudentFileError, match=TOKENIZER):
        OnnxEncoder("any", Body(encoder.body.graph, content))


def test_students_share_an_encoder_by_its_content(saved, student, tmp_path):
    folder, hashes = saved
    other = save_student(student, tmp_path / "other")
    encoders = Encoders()
    one = load_student(folder, hashes, encoders=encoders)
    two = load_student(tmp_path / "other", other, encoders=encoders)
    assert one.encoder is two.encoder
    assert load_student(folder, hashes).encoder is not one.encoder


def test_a_student_that_was_loaded_is_not_saved_without_its_encoder(saved, tmp_path):
    folder, hashes = saved
    loaded = load_student(folder, hashes)
    with pytest.raises(StudentFileError, match="copy its folder"):
        save_student(loaded, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student"]


@pytest.mark.evidence
def test_an_encoder_that_is_none(tmp_path):
    with pytest.raises(ModelError, match=str(tmp_path / "nowhere")):
        onnx_encoder(str(tmp_path / "nowhere"))
