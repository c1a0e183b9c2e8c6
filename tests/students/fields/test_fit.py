"""Students of records: what they learn, how they write it, and what they leave to the teacher."""

import json
import random

import numpy as np
import pytest

from made_up_records import SYLLABLES, THINGS, orders
from openwheel.errors import StudentFileError
from openwheel.students import load_student, save_student, train
from openwheel.students.student import NotLearnedError
from openwheel.tasks import Template, canonical_answer
from openwheel.tasks.template import Part
from openwheel.wire import Answer


def canonical(text):
    return canonical_answer(Answer(text), "record")


def taught(rows, **more):
    """Train the rung on input/output pairs."""
    answers = [canonical(row["output"]) for row in rows]
    surfaces = dict(zip(answers, (row["output"] for row in rows), strict=True))
    inputs = [(row["input"],) for row in rows]
    return train(
        "linear", inputs, answers, variables=(0,), form="record", surfaces=surfaces, **more
    )


def written(student, rows):
    return student.answer([(row["input"],) for row in rows]).texts


@pytest.fixture(scope="module")
def fitted():
    return taught(orders(300))


def test_records_of_unseen_inputs_are_the_teacher_s_bytes(fitted):
    new = orders(100, seed=1)
    texts, confidence = fitted.student.answer([(row["input"],) for row in new])
    same = [text == row["output"] for text, row in zip(texts, new, strict=True)]
    assert np.mean(same) > 0.9
    assert np.median(confidence) > 0.8
    assert fitted.agrees.mean() > 0.9
    assert len(fitted.rows) == 300


def test_one_by_one_as_in_a_batch(fitted):
    new = [(row["input"],) for row in orders(30, seed=1)] + [("",), ("?!",), ("\ud800 x",)]
    texts, confidence = fitted.student.answer(new)
    for i, values in enumerate(new):
        text, sure = fitted.student.answer_one(values)
        assert text == texts[i]
        assert abs(sure - confidence[i]) < 1e-5


def test_one_by_one_as_in_a_batch_where_paths_are_chosen_and_after_saving(fitted):
    settings, arrays = fitted.student.state()
    paths = {"tagger.paths": np.array([0.9, 0.3, 0.1, 0.5, 1.0, 1.0])}
    choosing = type(fitted.student).from_state(settings, arrays | paths)
    again = type(choosing).from_state(*choosing.state())
    new = [(row["input"],) for row in orders(60, seed=1)]
    texts, confidence = choosing.answer(new)
    for i, values in enumerate(new):
        text, sure = again.answer_one(values)
        assert text == texts[i]
        assert abs(sure - confidence[i]) < 1e-5
    with pytest.raises(StudentFileError, match=r"tagger\.paths"):
        type(choosing).from_state(settings, arrays | {"tagger.paths": np.ones(2)})


def test_what_is_unlike_training_is_left_to_the_teacher(fitted):
    odd = ["", "?!", "\u4f60\u597d", "zxq " * 5, "word " * 2_000, "\x00\x01"]
    assert fitted.student.answer([(text,) for text in odd]).confidence.max() == 0


def test_kinds_of_fields_are_inferred(fitted):
    kinds = {f.name: f.described for f in fitted.student.settings.record.fields}
    assert kinds == {
        "kind": "label",
        "customer.name": "rendered span",
        "count": "number",
        "items": "list of spans",
        "due": "date",
        "source": "constant",
    }


def test_saved_and_loaded_it_is_the_same(fitted, tmp_path):
    hashes = save_student(fitted.student, tmp_path / "student")
    loaded = load_student(tmp_path / "student", hashes)
    new = [(row["input"],) for row in orders(50, seed=2)]
    texts, confidence = fitted.student.answer(new)
    again = loaded.answer(new)
    assert again.texts == texts
    np.testing.assert_array_equal(again.confidence, confidence)
    assert (tmp_path / "student" / "arrays.safetensors").stat().st_size < 2_000_000


def test_no_text_of_training_is_saved_but_values_of_labels(fitted, tmp_path):
    save_student(fitted.student, tmp_path / "student")
    saved = b"".join(path.read_bytes() for path in (tmp_path / "student").iterdir()).lower()
    names = [json.loads(row["output"])["customer"]["name"].lower() for row in orders(300)]
    assert not [name for name in names if name.encode() in saved]


@pytest.mark.parametrize(
    "part", ["tagger.weights", "tagger.groups", "heads.bias", "phrases.keys", "guard.mean"]
)
def test_parts_that_are_missing_or_do_not_fit_are_named(fitted, part):
    settings, arrays = fitted.student.state()
    broken = type(fitted.student).from_state
    with pytest.raises(StudentFileError, match=part):
        broken(settings, {name: array for name, array in arrays.items() if name != part})
    if part == "tagger.weights":
        with pytest.raises(StudentFileError, match="do not fit"):
            broken(settings, {**arrays, part: arrays[part][:, :-1]})


def test_training_is_deterministic():
    rows, new = orders(120), [(row["input"],) for row in orders(30, seed=3)]
    one, other = (taught(rows).student.answer(new) for _ in range(2))
    assert one.texts == other.texts
    np.testing.assert_array_equal(one.confidence, other.confidence)


@pytest.mark.parametrize(
    "style",
    [
        {"indent": 2},
        {"separators": (",", ":")},
        {"indent": "\t", "sort_keys": True},
    ],
)
def test_the_style_of_json_is_the_teacher_s(style):
    student = taught(orders(150, **style)).student
    new = orders(40, seed=1, **style)
    told = [(t, row["output"]) for t, row in zip(written(student, new), new, strict=True)]
    right = [(text, truth) for text, truth in told if text and canonical(text) == canonical(truth)]
    assert len(right) > 20
    assert all(text == truth for text, truth in right)


def test_a_code_fence_stays():
    rows = [{**row, "output": f"```json\n{row['output']}\n```"} for row in orders(150, indent=2)]
    student = taught(rows).student
    text = written(student, orders(1, seed=1))[0]
    assert text.startswith("```json\n{\n  ")
    assert text.endswith("\n}\n```")


def test_a_random_answer_is_not_agreed_on():
    """With values drawn at random from the input, out of fold nothing is right by chance."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(400)]
    rows = []
    for _ in range(300):
        text = rng.sample(words, 6)
        rows.append({"input": " ".join(text), "output": json.dumps({"pick": rng.choice(text)})})
    fitted = taught(rows)
    assert fitted.agrees.mean() < 0.35
    order = np.argsort(-fitted.confidence)[:60]
    assert fitted.agrees[order].mean() < 0.5


def test_a_field_that_is_not_from_the_input_is_named():
    rows = orders(100)
    rng = random.Random(1)
    for row in rows:
        row["output"] = json.dumps({**json.loads(row["output"]), "id": f"{rng.getrandbits(60):x}"})
    with pytest.raises(NotLearnedError, match="'id' does not come out of the input"):
        taught(rows)


def test_a_field_that_is_seldom_there_and_not_learned_defers_its_records():
    rng = random.Random(1)
    rows = orders(300)
    for row in rows[::3]:
        row["input"] = "urgent! " + row["input"]
        row["output"] = json.dumps({**json.loads(row["output"]), "id": f"{rng.getrandbits(60):x}"})
    student = taught(rows).student
    new = orders(40, seed=1)
    plain = written(student, new)
    urgent = written(student, [{"input": "urgent! " + row["input"]} for row in new])
    assert np.mean([bool(text) for text in plain]) > 0.8
    assert np.mean([bool(text) for text in urgent]) < 0.1


def template(schema):
    asked = {"type": "json_schema", "json_schema": {"name": "order", "schema": schema}}
    return Template((Part(), Part(), Part(("", "")), Part()), "", json.dumps(asked))


def test_what_the_request_s_schema_forbids_is_not_answered():
    rows = orders(150)
    schema = {"type": "object", "properties": {"count": {"type": "integer", "maximum": 50}}}
    student = taught(rows, template=template(schema)).student
    new = orders(60, seed=1)
    told = [json.loads(text) for text in written(student, new) if text]
    assert told
    assert all(record["count"] <= 50 for record in told)


def test_a_schema_that_cannot_be_checked_is_named():
    schema = {"type": "object", "not": {"required": ["count"]}}
    with pytest.raises(NotLearnedError, match="keywords that are not checked: not"):
        taught(orders(60), template=template(schema))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"input": "a", "output": "{}"}] * 3,
        [{"input": f"x {i}", "output": json.dumps({f"k{i}": i})} for i in range(300)],
    ],
)
def test_there_may_be_nothing_to_learn(rows):
    with pytest.raises(ValueError, match=r"nothing to learn|cannot be learned|no answer was given"):
        taught(rows)


def lines(n, seed=0):
    """Orders of several lines each, an object a line."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        made = [
            (rng.randint(2, 90), f"{rng.choice(SYLLABLES.split())}{rng.choice('xyz')} {thing}")
            for thing in rng.sample(THINGS, rng.choice((0, 1, 2, 3)))
        ]
        said = ", ".join(f"{count} {item}" for count, item in made) or "nothing today"
        record = {
            "lines": [{"item": item, "count": count, "unit": "pcs"} for count, item in made],
        }
        rows.append({"input": f"please send {said}, thanks", "output": json.dumps(record)})
    return rows


def test_lists_of_objects_are_learned():
    student = taught(lines(300)).student
    kinds = {f.name: f.described for f in student.settings.record.fields}
    assert kinds == {
        "lines[].item": "list of spans",
        "lines[].count": "list of numbers",
        "lines[].unit": "constant",
    }
    new = lines(80, seed=1)
    same = [text == row["output"] for text, row in zip(written(student, new), new, strict=True)]
    assert np.mean(same) > 0.85


def test_a_list_of_objects_with_a_field_that_is_not_from_the_input_is_named():
    rows = lines(120)
    rng = random.Random(0)
    for row in rows:
        record = json.loads(row["output"]) | {"lines": [{"id": f"{rng.getrandbits(60):x}"}]}
        row["output"] = json.dumps(record)
    with pytest.raises(NotLearnedError, match=r"'lines\[\].id' does not come out of the input"):
        taught(rows)


def test_an_order_of_lists_that_means_nothing_is_told():
    rng = random.Random(0)
    rows = orders(200)
    for row in rows:
        record = json.loads(row["output"])
        rng.shuffle(record["items"])
        row["output"] = json.dumps(record)
    assert "Only the order of lists differs in" in taught(rows).blame
    answers = [canonical_answer(Answer(row["output"]), "record", ("set",)) for row in rows]
    surfaces = dict(zip(answers, (row["output"] for row in rows), strict=True))
    inputs = [(row["input"],) for row in rows]
    more = {"form": "record", "surfaces": surfaces, "folds": ("set",)}
    fitted = train("linear", inputs, answers, variables=(0,), **more)
    assert fitted.agrees.mean() > 0.9
