import os
import subprocess
import sys

import numpy as np
import pytest

from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.adapter import compute_again
from openwheel.students.lm.batches import logits_of, plan_batches
from openwheel.students.lm.examples import Example
from openwheel.students.lm.memory import fit_memory
from openwheel.students.lm.step import measure_step

torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

TARGETS = ("q_proj", "v_proj", "down_proj")


@pytest.fixture(scope="module")
def base(tiny_base):
    from openwheel.students.lm.base import load_base

    return load_base(str(tiny_base))


def examples(length: int, n: int = 8) -> list[Example]:
    draw = np.random.default_rng(0)
    return [Example(draw.integers(5, 300, length), length - 4) for _ in range(n)]


LIMITED = """
import sys
from peft import LoraConfig, get_peft_model
from openwheel.students.lm.base import load_base
from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.machine import _data, limit_data
from openwheel.students.lm.memory import fit_memory
from openwheel.students.lm.step import measure_step
from students.lm.test_memory import TARGETS, examples

model = get_peft_model(
    load_base(sys.argv[1]).model, LoraConfig(r=4, target_modules=list(TARGETS))
)
for megabytes in map(int, sys.argv[2:]):
    limit_data(_data() + (megabytes << 20))
    try:
        fit = fit_memory(model, examples(1000), most=8000, packed=True, share=1.0)
        print(fit.most, fit.checkpointing, fit.tokens)
    except ModelError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_pass_is_as_long_as_memory_allows_and_at_least_the_longest_exchange(tiny_base):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tiny_base), "2", "150", "4000"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    none, less, plenty = done.stdout.splitlines()
    assert plenty == "8000 False 8000"
    most, _, tokens = less.split()
    assert 1000 <= int(most) < 8000
    assert int(tokens) <= int(most)
    assert "does not fit into the memory that is left for an exchange of 1000 tokens" in none


def test_another_error_of_torch_is_no_lack_of_memory(base):
    class Broken(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, **_):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit_memory(Broken(), examples(10), most=100, packed=False)


def test_a_step_is_measured_in_a_process_of_its_own(tiny_base):
    settings = LmSection(threads=1)
    found = measure_step(str(tiny_base), context=64, batch=2, settings=settings)
    assert (found.device, found.tokens, found.checkpointing) == ("cpu", 128, False)
    assert found.seconds > 0
    assert found.peak > 50 << 20
    with pytest.raises(ModelError, match="must be a folder or an id of the hub"):
        measure_step("/nowhere/at/all", context=64, batch=2, settings=settings)


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
