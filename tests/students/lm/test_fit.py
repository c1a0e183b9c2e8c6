"""The whole rung: train, serve, answer within the form, confidence, save and load."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from inference.served import writer_of
from openwheel.errors import StudentFileError
from openwheel.settings import LmSection
from openwheel.students import Served, load_student, save_student
from openwheel.students.lm.fit import divide, fit_lm

from .made import COLOURS, TASK, exchanges

pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytestmark = [
    # PEFT asks transformers for a property by its old name.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def engine(tiny_base):
    with writer_of(tiny_base) as running:
        yield running


@pytest.fixture(scope="module")
def serve(engine):
    def served(adapter: Path):
        name = f"student-{len(engine.models())}"
        engine.load_adapter(name, adapter)
        return Served(engine, name, engine.base_fingerprint())

    return served


@pytest.fixture(scope="module")
def told():
    """What was told while it was trained."""
    return []


@pytest.fixture(scope="module")
def fitted(told, fit_trains, tiny_base, serve, tmp_path_factory):
    inputs, answers = exchanges(400)
    return fit_lm(
        inputs,
        answers,
        template=TASK,
        form="label",
        settings=LmSection(base=str(tiny_base), epochs=4, learning_rate=5e-3, threads=1),
        variables=(0,),
        surfaces={colour: f"{colour}\n" for colour in COLOURS},
        work=tmp_path_factory.mktemp("work"),
        serve=serve,
        progress=lambda *about: told.append(about),
    )


def test_it_says_how_far_it_is(fitted, told):
    training = [about[1:] for about in told if about[0] == "training the model"]
    assert training[0] == (0, None, "steps")
    assert training[-1][0] == training[-1][1] > 0
    assert re.fullmatch(r"[\d,]+ tokens/s, loss [\d.]+ \(held out [\d.]+\)", training[-1][-1])
    assert told[-1] == ("asking the model", len(fitted.rows), len(fitted.rows), "requests")


def test_it_answers_new_inputs_as_the_teacher_would(fitted):
    student = fitted.student
    assert student.rung == "lm"
    assert set(student.answers) == set(COLOURS)
    inputs, answers = exchanges(60, seed=1)
    texts, confidence = student.answer(inputs)
    assert np.mean([a == b for a, b in zip(texts, answers, strict=True)]) > 0.9
    assert ((confidence > 0) & (confidence <= 1)).all()
    assert student.answer_one(inputs[0])[0] == texts[0]


def test_what_it_reports_is_of_inputs_it_did_not_learn(fitted):
    inputs, answers = exchanges(400)
    assert len(fitted.rows) == len(fitted.confidence) == len(fitted.agrees) == 60
    parts = divide(inputs, answers, form="label", variables=(0,), share=0.2)
    assert set(fitted.rows) == set(parts.judged)
    assert not {inputs[r] for r in parts.learned} & {inputs[r] for r in fitted.rows}
    assert fitted.agrees.mean() > 0.9


def test_what_is_unlike_the_task_is_left_to_the_teacher(fitted):
    student = fitted.student
    odd = [(), ("x" * 1000,), ("\ud800 broken",), ("one", "too many")]
    texts, confidence = student.answer(odd)
    assert confidence.tolist() == [0, 0, 0, 0]
    assert texts == [""] * 4
    usual = np.median(student.answer(exchanges(30, seed=2)[0]).confidence)
    assert student.answer([("house boat kite",)]).confidence[0] < usual
    assert student.answer([]).texts == []


def test_it_is_saved_with_its_adapter_and_answers_the_same(fitted, serve, tmp_path):
    student = fitted.student
    folder = tmp_path / "student"
    hashes = save_student(student, folder)
    assert set(hashes) == {
        "student.json",
        "arrays.safetensors",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/adapter.gguf",
        "adapter/llama_cpp.json",
    }
    loaded = load_student(folder, hashes, serve=serve)
    inputs = exchanges(20, seed=3)[0]
    one, other = student.answer(inputs), loaded.answer(inputs)
    assert one.texts == other.texts
    np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)


def test_another_base_is_refused(fitted, serve, tmp_path):
    """What was certified is what is served."""
    folder = tmp_path / "student"
    hashes = save_student(fitted.student, folder)
    assert len(fitted.student.base().fingerprint) == 64
    with pytest.raises(StudentFileError, match=r"another base .* than the one that is served now"):
        load_student(folder, hashes, serve=lambda adapter: serve(adapter)._replace(base="0" * 64))


def test_a_changed_adapter_is_refused_by_name(fitted, engine, tmp_path):
    folder = tmp_path / "student"
    hashes = save_student(fitted.student, folder)
    with pytest.raises(StudentFileError, match="no engine for it"):
        load_student(folder, hashes)
    (folder / "adapter" / "more.bin").write_bytes(b"x")
    with pytest.raises(StudentFileError, match=r"adapter/more.bin was added"):
        load_student(folder, hashes, serve=lambda _: Served(engine, "any"))
    (folder / "adapter" / "more.bin").unlink()
    weights = folder / "adapter" / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StudentFileError, match=r"adapter_model.safetensors was changed"):
        load_student(folder, hashes, serve=lambda _: Served(engine, "any"))
    weights.unlink()
    with pytest.raises(StudentFileError, match=r"adapter_model.safetensors is missing"):
        load_student(folder, hashes, serve=lambda _: Served(engine, "any"))


def test_repeats_stay_on_one_side_and_are_learned_a_few_times(tiny_base):
    inputs = [(f"Input  number {i % 20}",) for i in range(400)]
    inputs[::3] = [(text.upper(),) for (text,) in inputs[::3]]
    answers = ["a" if i % 2 else "b" for i in range(400)]
    parts = divide(inputs, answers, form="label", variables=(0,), share=0.25)

    def plain(rows: list[int]) -> Counter[str]:
        return Counter(" ".join(inputs[row][0].split()).casefold() for row in rows)

    learned, stopping, judged = map(plain, parts)
    assert len(learned) == 15
    assert len(stopping) == 1
    assert len(judged) == 4
    assert not set(learned) & (set(stopping) | set(judged))
    assert set(learned.values()) == {3}  # of 20 exchanges each, 1 + ln 20
    assert set(judged.values()) == {1}
    # The latest: those that first came late.
    assert set(judged) == {f"input number {i}" for i in (16, 17, 18, 19)}


@pytest.mark.parametrize("n", [0, 5])
def test_too_few_inputs_are_nothing_to_learn(n):
    inputs, answers = exchanges(n)
    with pytest.raises(ValueError, match="nothing to learn"):
        divide(inputs, answers, form="label", variables=(0,), share=0.2)
    distinct = [f"answer {i}" for i in range(40)]
    with pytest.raises(ValueError, match="nothing to learn"):
        divide(exchanges(40)[0], distinct, form="label", variables=(0,), share=0.2)
