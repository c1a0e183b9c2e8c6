import numpy as np
import pytest

from openwheel.students.lm.batches import (
    logits_of,
    packs_exactly,
    plan_batches,
    shared_beginning,
)
from openwheel.students.lm.examples import Example, Record, encode
from openwheel.students.lm.prompt import Asking

from .made import TASK, exchanges

torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")


@pytest.fixture(scope="module")
def examples(tiny_base) -> list[Example]:
    from openwheel.students.lm.base import load_base

    asking = Asking(template=TASK)
    inputs, answers = exchanges(12)
    records = [
        Record(messages=asking.messages(values), answer=answer + " indeed" * (i % 3))
        for i, (values, answer) in enumerate(zip(inputs, answers, strict=True))
    ]
    encoded = encode(load_base(str(tiny_base)).tokenizer, records, context=512)
    return [example for example in encoded if example is not None]


def loss_and_gradient(model, batches):
    model.requires_grad_(True)
    model.zero_grad()
    total = 0.0
    for batch in batches:
        targets = torch.from_numpy(batch.targets)
        loss = torch.nn.functional.cross_entropy(logits_of(model, batch), targets, reduction="sum")
        loss.backward()
        total += float(loss.detach())
    gradient = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    model.requires_grad_(False)
    return total, gradient


def test_packed_examples_share_their_beginning_and_learn_as_if_alone(tiny_base, examples):
    from openwheel.students.lm.base import load_base

    model = load_base(str(tiny_base)).model
    rows = list(range(len(examples)))
    alone = [b for r in rows for b in plan_batches(examples, [r], most=4096, packed=False)]
    packed = plan_batches(examples, rows, most=300, packed=True)
    assert 1 < len(packed) < len(rows)
    expected, gradient = loss_and_gradient(model, alone)
    loss, found = loss_and_gradient(model, packed)
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5)
    computed = sum(batch.ids.size for batch in packed)
    real = sum(len(example.ids) for example in examples)
    assert sum(batch.tokens for batch in packed) == real
    assert computed < 0.7 * real  # what they share was not computed for each


def test_padded_batches_learn_as_if_alone(tiny_base, examples):
    from openwheel.students.lm.base import load_base

    model = load_base(str(tiny_base)).model
    rows = list(range(len(examples)))
    alone = [b for r in rows for b in plan_batches(examples, [r], most=4096, packed=False)]
    padded = plan_batches(examples, rows, most=300, packed=False)
    assert 1 < len(padded) < len(rows)
    expected, gradient = loss_and_gradient(model, alone)
    loss, found = loss_and_gradient(model, padded)
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5)


def test_every_learned_token_is_an_answer_and_its_end(examples):
    for packed in (True, False):
        batches = plan_batches(examples, range(len(examples)), most=300, packed=packed)
        for row, example in enumerate(examples):
            learned = [b.targets[b.examples == row] for b in batches]
            np.testing.assert_array_equal(np.concatenate(learned), example.ids[example.prompt :])


def test_a_window_shorter_than_the_examples_is_noticed(make_base, tiny_base, examples):
    from openwheel.students.lm.base import load_base

    plain = load_base(str(tiny_base)).model
    assert packs_exactly(plain, examples, tolerance=1e-3)
    windowed = load_base(str(make_base("mistral", sliding_window=8))).model
    assert not packs_exactly(windowed, examples, tolerance=1e-3)
    wide = load_base(str(make_base("mistral", sliding_window=512))).model
    assert packs_exactly(wide, examples, tolerance=1e-3)


def test_examples_without_a_common_beginning_share_nothing():
    alike = [
        Example(np.array([1, 2, 3, 4, 5, 6, 7]), 6),
        Example(np.array([1, 2, 3, 4, 5, 9, 7]), 6),
    ]
    assert shared_beginning(alike) == 5  # the last token of a prompt is each one's own
    other = Example(np.array([2, 2, 3, 4, 5, 6, 7]), 6)
    assert shared_beginning([*alike, other]) == 0
    assert shared_beginning(alike[:1]) == 0
