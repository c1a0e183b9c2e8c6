import subprocess
import sys

import numpy as np
import pytest

from openwheel.errors import SettingError, StudentFileError
from openwheel.students import load_student, save_student, train
from openwheel.students.encoder import SentenceEncoder, pool

from .samples import traffic

TEXTS = ["topic kind", "a b c d e f g", "z", ""]


def states(encoder, text):
    """The model's own states of one text without padding, as NumPy."""
    import torch

    batch = encoder.tokenizer([text], truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        return encoder.model(**batch).last_hidden_state[0].numpy()


@pytest.mark.parametrize(
    ("declared", "pool"),
    [
        ("", lambda found: found.mean(axis=0)),
        ('{"pooling_mode_mean_tokens": true}', lambda found: found.mean(axis=0)),
        ('{"pooling_mode_mean_sqrt_len_tokens": true}', lambda found: found.mean(axis=0)),
        ('{"pooling_mode_cls_token": true}', lambda found: found[0]),
        ('{"pooling_mode_lasttoken": true}', lambda found: found[-1]),
    ],
)
def test_pools_as_declared(make_encoder, declared, pool):
    encoder = SentenceEncoder(str(make_encoder(pooling=declared)))
    for text, vector in zip(TEXTS, encoder.embed(TEXTS), strict=True):
        expected = pool(states(encoder, text))
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize(
    "declared",
    [
        '{"pooling_mode_max_tokens": true}',
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}',
        "[1]",
        "no JSON",
    ],
)
def test_pooling_it_cannot_do_is_refused(make_encoder, declared):
    folder = make_encoder(pooling=declared)
    with pytest.raises(SettingError, match=str(folder)):
        SentenceEncoder(str(folder))


@pytest.mark.parametrize(("pooling", "expected"), [("cls", [1, 5]), ("last", [3, 6])])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_may_be_on_either_side(pooling, expected, side):
    import torch

    rows = [[1.0, 2, 3], [5, 6]]
    mask = torch.tensor([[1, 1, 1], [0, 1, 1] if side == "left" else [1, 1, 0]])
    padded = [rows[0], [9, *rows[1]] if side == "left" else [*rows[1], 9]]
    states = torch.tensor(padded).unsqueeze(-1)
    assert pool(states, mask, pooling)[:, 0].tolist() == expected
    assert pool(states, mask, "mean")[:, 0].tolist() == [2, 5.5]


def test_vectors_are_unit_and_do_not_depend_on_the_batch(tiny_encoder):
    texts = [text for (text,) in traffic(150, 5)[0]] + TEXTS
    vectors = tiny_encoder.embed(texts)
    assert vectors.shape == (len(texts), 48)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for i in (0, 70, len(texts) - 1):
        np.testing.assert_allclose(tiny_encoder.embed([texts[i]])[0], vectors[i], atol=1e-5)
    assert tiny_encoder.embed([]).shape == (0, 48)


def test_a_text_without_tokens_has_no_direction(make_encoder):
    encoder = SentenceEncoder(str(make_encoder()))
    encoder.tokenizer.backend_tokenizer.post_processor = None  # no [CLS], no [SEP]
    assert not encoder.embed([""]).any()
    both = encoder.embed(["", "topic"])
    assert not both[0].any()
    assert np.linalg.norm(both[1]) == pytest.approx(1, abs=1e-5)


def test_long_texts_are_cut_and_bad_unicode_is_read(tiny_encoder):
    long = " ".join(["topic"] * 5_000)
    np.testing.assert_allclose(
        tiny_encoder.embed([long]), tiny_encoder.embed([long + " and more"]), atol=1e-6
    )
    assert np.isfinite(tiny_encoder.embed(["\ud800", "\0", "🙈"])).all()


def test_a_declared_length_is_kept(make_encoder):
    folder = make_encoder()
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    encoder = SentenceEncoder(str(folder))
    one, other = encoder.embed(["a b c", "a b z"])
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_fingerprint_tells_encoders_apart(make_encoder):
    folder, same = make_encoder(), make_encoder()
    first = SentenceEncoder(str(folder)).fingerprint
    assert SentenceEncoder(str(folder)).fingerprint == first
    assert SentenceEncoder(str(same)).fingerprint == first
    assert SentenceEncoder(str(make_encoder(seed=1))).fingerprint != first
    cls = make_encoder(pooling='{"pooling_mode_cls_token": true}')
    assert SentenceEncoder(str(cls)).fingerprint != first


def test_weights_that_were_never_saved(make_encoder):
    # A pooler that is filled in at random, and not used, must not make every loading differ.
    folder = str(make_encoder(pooler=False))
    assert SentenceEncoder(folder).fingerprint == SentenceEncoder(folder).fingerprint


def test_weights_that_are_lacking(make_encoder):
    from safetensors.torch import load_file, save_file

    folder = make_encoder()
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SettingError, match="must have all of its weights"):
        SentenceEncoder(str(folder))


def test_a_student_refuses_another_encoder(make_encoder, tiny_encoder, tmp_path):
    inputs, answers = traffic(80, 3)
    student = train("encoder", inputs, answers, variables=(0,), encoder=tiny_encoder).student
    hashes = save_student(student, tmp_path / "student")
    by_itself = load_student(tmp_path / "student", hashes)
    np.testing.assert_array_equal(
        by_itself.predict(inputs).confidence, student.predict(inputs).confidence
    )
    other = SentenceEncoder(str(make_encoder(seed=1)))
    with pytest.raises(StudentFileError, match="not the one this student was trained with"):
        load_student(tmp_path / "student", hashes, other)


def test_vectors_alone_or_joined(tiny_encoder):
    # What it keeps follows from its training; either way it answers in the same form.
    student = train("encoder", *traffic(80, 3), variables=(0,), encoder=tiny_encoder).student
    assert student.core.semantic is not None
    rows = len(student.core.head.weights)
    joined = student.core.lexical is not None
    assert rows == 48 + (len(student.core.lexical.tfidf.keys) if joined else 0)


def test_pickled_weights_are_refused(make_encoder):
    folder = make_encoder(pickled=True)
    with pytest.raises(SettingError, match="safetensors"):
        SentenceEncoder(str(folder))


@pytest.mark.parametrize("damage", ["empty", "config", "weights", "nowhere"])
def test_a_folder_that_is_no_encoder(make_encoder, tmp_path, damage):
    folder = tmp_path
    if damage in {"config", "weights"}:
        folder = make_encoder()
        name = {"config": "config.json", "weights": "model.safetensors"}[damage]
        (folder / name).write_text("nonsense")
    if damage == "nowhere":
        folder = tmp_path / "nowhere"
    with pytest.raises(SettingError, match=str(folder)):
        SentenceEncoder(str(folder))


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1]:
            raise ImportError(f"No module named {name!r}")

sys.meta_path.insert(0, Blocker())
from openwheel.errors import SettingError
from openwheel.students.encoder import SentenceEncoder
try:
    SentenceEncoder("any")
except SettingError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "missing", ["torch", pytest.param("transformers", marks=pytest.mark.evidence)]
)
def test_the_extra_is_missing(missing):
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED, missing], capture_output=True, text=True, check=True
    )
    assert "pip install 'openwheel[encoder]'" in result.stdout
