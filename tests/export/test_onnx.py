"""The body of an encoder student in ONNX."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import tokenizers

from openwheel.errors import ModelError
from openwheel.export import export, source_of
from openwheel.students import save_student, train
from openwheel.students.encoder import SentenceEncoder
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER
from students.samples import traffic

TEXTS = ("topic 3 answer", "kind of answer", "a")


@pytest.fixture(scope="module")
def student(make_encoder, tmp_path_factory):
    """A saved student whose encoder is a folder with torch weights, and that folder."""
    base = make_encoder()
    (base / "LICENSE").write_text("Do as you like.\n")
    folder = tmp_path_factory.mktemp("students") / "s1"
    inputs, answers = traffic(80, 3)
    encoder = SentenceEncoder(str(base))
    save_student(train("encoder", inputs, answers, variables=(0,), encoder=encoder).student, folder)
    return folder, base


def vectors(folder):
    """Run an export by ONNX Runtime and tokenizers alone."""
    session = onnxruntime.InferenceSession(str(folder / GRAPH))
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    return np.stack(
        [
            session.run(None, {"input_ids": np.array([tokenizer.encode(text).ids], np.int64)})[0][0]
            for text in TEXTS
        ]
    )


def small_graph(words):
    """Return a graph whose vectors are the mean of those of a text's tokens."""
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(0).normal(size=(words, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["each"]),
            helper.make_node("ReduceMean", ["each", "axes"], ["mean"], keepdims=0),
            helper.make_node("LpNormalization", ["mean"], ["vector"], axis=1),
        ],
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "length"])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def test_a_graph_of_its_own_is_passed_on_as_it_is(student, tmp_path):
    folder, base = student
    words = len(SentenceEncoder(str(base)).tokenizer)
    folder = shutil.copytree(folder, tmp_path / "student")
    (folder / GRAPH).write_bytes(small_graph(words))
    shutil.copy(base / "tokenizer.json", folder / TOKENIZER)
    done = export(source_of(folder), tmp_path / "out", form="onnx", name="desk")
    assert set(done.files) == {GRAPH, TOKENIZER, "LICENSE"}
    assert done.likeness is None
    for name in (GRAPH, TOKENIZER):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    np.testing.assert_allclose(np.linalg.norm(vectors(tmp_path / "out"), axis=1), 1, atol=1e-5)


@pytest.mark.evidence
def test_an_encoder_gives_the_vectors_it_gave_in_torch(student, tmp_path):
    folder, base = student
    done = export(source_of(folder, TEXTS), tmp_path / "out", form="onnx", name="desk")
    assert done.precision in {"int8", "float32"}
    assert done.likeness is not None
    assert done.likeness > 0.9
    assert set(done.files) == {GRAPH, TOKENIZER, "LICENSE"}
    true = SentenceEncoder(str(base)).embed(TEXTS)
    assert (vectors(tmp_path / "out") * true).sum(axis=1).min() > 0.9

    # What a student keeps as its own graph is passed on as it is.
    for name in (GRAPH, TOKENIZER):
        (folder / name).write_bytes((tmp_path / "out" / name).read_bytes())
    again = export(source_of(folder), tmp_path / "again", form="onnx", name="desk")
    assert again.files[GRAPH] == done.files[GRAPH]
    assert again.likeness is None
    np.testing.assert_array_equal(vectors(tmp_path / "again"), vectors(tmp_path / "out"))


def test_other_forms_are_refused(student, tmp_path):
    for form in ("adapter", "merged", "gguf"):
        with pytest.raises(ModelError, match="exported as onnx only, not as"):
            export(source_of(student[0]), tmp_path / form, form=form, name="desk")
        assert not (tmp_path / form).exists()


def test_students_without_a_model_hold_nothing_to_export(tmp_path):
    inputs, answers = traffic(80, 3)
    save_student(train("linear", inputs, answers, variables=(0,)).student, tmp_path / "s")
    with pytest.raises(ModelError, match="rung linear hold no model that other software loads"):
        source_of(tmp_path / "s")
    (tmp_path / "s" / "student.json").write_text(json.dumps({"rung": "linear"}))
    with pytest.raises(ModelError, match="cannot be read"):
        source_of(tmp_path / "s")
