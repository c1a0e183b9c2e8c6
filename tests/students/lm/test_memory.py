import numpy as np
import pytest

from openwheel.errors import ModelError
from openwheel.students.lm.adapter import compute_again
from openwheel.students.lm.batches import logits_of, plan_batches
from openwheel.students.lm.examples import Example
from openwheel.students.lm.memory import fit_memory

torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

TARGETS = ("q_proj", "v_proj", "down_proj")


@pytest.fixture(scope="module")
def base(tiny_base):
    from openwheel.engine.base import load_base

    return load_base(str(tiny_base))


def examples(length: int, n: int = 8) -> list[Example]:
    draw = np.random.default_rng(0)
    return [Example(draw.integers(5, 300, length), length - 4) for _ in range(n)]


def test_a_pass_is_as_long_as_memory_allows_and_at_least_the_longest_exchange(base):
    def fit(free: int):
        return fit_memory(base, examples(100), most=3200, rank=8, targets=TARGETS, free=free)

    plenty = fit(10**12)
    assert (plenty.most, plenty.checkpointing) == (3200, False)
    less = fit(plenty.needed // 2)
    assert less.most < 3200
    assert less.needed <= plenty.needed // 2
    least = next(f for f in (fit(free) for free in range(10**5, 10**9, 10**5) if fits(fit, free)))
    assert least.most == 100
    assert least.checkpointing
    with pytest.raises(ModelError, match=r"longest exchange of 100 tokens.* lower lm.context"):
        fit(least.needed // 2)


def fits(fit, free: int) -> bool:
    try:
        fit(free)
    except ModelError:
        return False
    return True


def test_what_is_computed_again_gives_the_same_gradient(base):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(base.model, LoraConfig(r=4, target_modules=list(TARGETS)))
    model.train()
    given = examples(60, 4)

    def gradient():
        model.zero_grad()
        (batch,) = plan_batches(given, range(4), most=4096, packed=True)
        logits_of(model, batch).square().mean().backward()
        return torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])

    kept = gradient()
    compute_again(model)
    torch.testing.assert_close(gradient(), kept)
