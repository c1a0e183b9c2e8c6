"""Learning from a teacher's probabilities: captured, or of a model here."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.batches import plan_batches
from openwheel.students.lm.examples import Record, encode
from openwheel.students.lm.loss import loss_of, top_divergence
from openwheel.students.lm.order import Note
from openwheel.students.lm.probabilities import TokenNames, with_probabilities
from openwheel.students.lm.prompt import Asking
from openwheel.students.lm.train import place_order
from openwheel.wire import PromptMessage

from .made import TASK, exchanges

torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")
pytest.importorskip("peft", reason="the extra `lm` is not installed")

MESSAGES = (PromptMessage("user", "Which?"),)


@pytest.fixture(scope="module")
def base(tiny_base):
    from openwheel.students.lm.base import load_base

    return load_base(str(tiny_base))


def first(tokenizer, answer: str) -> str:
    return tokenizer.decode(tokenizer(answer)["input_ids"][:1])


def captured(tokenizer, answer: str, shares: dict[str, float]):
    """Log-probabilities as an API gives them: the first token by `shares`, the others certain."""
    tokens = [tokenizer.decode([t]) for t in tokenizer(answer)["input_ids"]]
    first = [(tokens[0], shares[tokens[0]]), *((t, p) for t, p in shares.items() if t != tokens[0])]
    places = [tuple((token, math.log(share)) for token, share in first)]
    return (*places, *(((token, 0.0),) for token in tokens[1:]))


def test_captured_probabilities_are_lined_up_with_the_students_tokens(base):
    names = TokenNames(base.tokenizer)
    red, green = (first(base.tokenizer, colour) for colour in ("red", "green"))
    shares = {red: 0.7, green: 0.2, "no such token": 0.1}
    logprobs = captured(base.tokenizer, "red", shares)
    (example,) = encode(base.tokenizer, [Record(messages=MESSAGES, answer="red")], context=99)
    soft = with_probabilities(example, logprobs, names).soft
    assert soft is not None
    ids, values = soft
    assert len(ids) == len(example.ids) - example.prompt  # the end of the turn is certain
    assert names.id_of(green) == ids[0, 1]
    assert np.exp(values[0][ids[0] >= 0]) == pytest.approx([0.7, 0.2])
    assert ids[-1, 0] == example.ids[-1]
    assert values[-1, 0] == 0
    (other,) = encode(base.tokenizer, [Record(messages=MESSAGES, answer="blue")], context=99)
    assert (
        with_probabilities(other, logprobs, names).soft is None
    )  # other tokens than were captured


def test_the_divergence_is_none_where_the_student_agrees_and_that_of_the_definition_elsewhere():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    q = logits.softmax(-1)[0]
    ids = torch.tensor([[0, 1, -1]])
    same = torch.stack([q[0].log(), q[1].log(), torch.tensor(0.0)])[None]
    assert float(top_divergence(logits, ids, same)[0]) == pytest.approx(0, abs=1e-9)
    p = np.array([0.5, 0.2, 0.3])
    r = np.array([q[0], q[1], q[2] + q[3]])
    given = torch.tensor([[math.log(0.5), math.log(0.2), 0.0]], dtype=torch.float64)
    expected = float((p * np.log(p / r)).sum())
    assert float(top_divergence(logits, ids, given)[0]) == pytest.approx(expected, rel=1e-6)


def test_a_model_learned_from_itself_has_nothing_to_learn(base):
    records = [Record(messages=MESSAGES, answer=answer) for answer in ("red", "green blue")]
    examples = encode(base.tokenizer, records, context=99)
    (batch,) = plan_batches(examples, range(2), most=999, packed=True)
    loss = loss_of(base.model, batch, examples, teacher=base.model)
    assert float(loss) == pytest.approx(0, abs=1e-4)
    assert float(loss_of(base.model, batch, examples)) > 1


def records(tokenizer, *, soft: bool) -> list[Record]:
    """Answers of a teacher that flips a coin between two colours whatever is asked."""
    asking = Asking(template=TASK)
    shares = {first(tokenizer, colour): 0.499 for colour in ("red", "blue")}
    inputs, _ = exchanges(60)
    return [
        Record(
            messages=asking.messages(values),
            answer="red" if i % 2 else "blue",
            logprobs=captured(tokenizer, "red" if i % 2 else "blue", shares) if soft else (),
            held_out=i >= 48,
        )
        for i, values in enumerate(inputs)
    ]


def test_captured_probabilities_teach_what_the_teacher_might_have_written(
    train, base, tiny_base, tmp_path
):
    settings = LmSection(
        base=str(tiny_base), distil="probabilities", epochs=6, learning_rate=5e-3, threads=1
    )
    told = []
    order = place_order(tmp_path / "soft", records(base.tokenizer, soft=True), settings)
    report = train(order, told.append)[1]
    assert report.soft == 60
    # The divergence can reach zero; the answers' own entropy of ln 2 cannot be learned away.
    assert report.held_out_loss is not None
    assert report.held_out_loss < 0.1
    told.clear()
    order = place_order(tmp_path / "hard", records(base.tokenizer, soft=False), settings)
    report = train(order, told.append)[1]
    assert report.soft == 0
    assert any(isinstance(event, Note) and "0 of 60" in event.text for event in told)


def test_a_teacher_of_other_tokens_is_refused(train, tiny_base, make_base, tmp_path):
    teacher = make_base(seed=7)
    file = teacher / "tokenizer.json"
    content = json.loads(file.read_text())
    for token in content["added_tokens"]:
        if token["content"] == "<|pad|>":
            token["content"] = "<|other|>"
    vocabulary = content["model"]["vocab"]
    vocabulary["<|other|>"] = vocabulary.pop("<|pad|>")
    file.write_text(json.dumps(content))
    settings = LmSection(base=str(tiny_base), distil="probabilities", teacher=str(teacher))
    given = [Record(messages=MESSAGES, answer="red")] * 4
    with pytest.raises(ModelError, match="must have the tokenizer of the base"):
        train(place_order(tmp_path, given, settings))


def test_the_learners_process_needs_no_torch_to_order_and_follow():
    code = (
        "import sys, openwheel.students.lm.fit\n"
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
