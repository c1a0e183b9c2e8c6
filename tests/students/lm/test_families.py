"""Every family of the catalogue: load, generate, a step of LoRA, save, reload with equal logits."""

from pathlib import Path

import numpy as np
import pytest

from openwheel.catalog import load_catalog
from openwheel.settings import LmSection

from .conftest import train_tokenizer
from .families import KINDS, UNTRIED, each_family, tiny_config, trained_types

torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")
pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytestmark = [pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def tokenizer():
    torch.set_num_threads(1)
    return train_tokenizer()


@pytest.mark.parametrize("model_type", each_family())
def test_family(model_type: str, tokenizer, tmp_path: Path) -> None:
    import transformers

    from openwheel.students.lm.adapter import add_adapter, learned, save_adapter, targets_of
    from openwheel.students.lm.base import load_base
    from openwheel.students.lm.batches import logits_of, packs_exactly, plan_batches
    from openwheel.students.lm.examples import Example

    folder = tmp_path / "base"
    known = model_type if model_type in transformers.CONFIG_MAPPING else "deepseek_v3"
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(tiny_config(known, tokenizer))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if known != model_type:  # as its checkpoints have it
        config = folder / "config.json"
        config.write_text(config.read_text().replace('"deepseek_v3"', f'"{model_type}"'))
    base = load_base(str(folder))

    draw = np.random.default_rng(0)
    prompt = torch.from_numpy(draw.integers(5, 300, (1, 12)))
    written = base.model.generate(prompt, max_new_tokens=6, do_sample=False)
    assert written.shape[1] > 12

    start = draw.integers(5, 300, 12)
    examples = [Example(np.append(start, draw.integers(5, 300, 3 + i)), 13) for i in range(3)]
    settings = LmSection(base=str(folder), rank=4)
    model = add_adapter(base, settings)
    packed = packs_exactly(model, examples, tolerance=1e-3)
    (batch,) = plan_batches(examples, range(3), most=4096, packed=packed)
    targets = torch.from_numpy(batch.targets)
    weights = list(learned(model).values())
    optimizer = torch.optim.AdamW(weights, lr=1e-2)

    def loss():
        return torch.nn.functional.cross_entropy(logits_of(model, batch), targets)

    before = float(loss().detach())
    for _ in range(4):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        assert float(loss()) < before
        after = logits_of(model, batch)
    named = {name.split(".lora_")[0] for name in learned(model)}
    targets = targets_of(base.model_type, settings).modules
    assert all(any(name.endswith(target) for target in targets) for name in named)
    assert not any("router" in name or name.endswith((".gate", ".wg")) for name in named)

    save_adapter(model, learned(model), tmp_path / "adapter")
    again = load_base(str(folder))
    from peft import PeftModel

    reloaded = PeftModel.from_pretrained(again.model, str(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.equal(logits_of(reloaded.eval(), batch), after)


def test_each_kind_has_a_family_that_is_always_tried():
    assert set(KINDS) <= set(trained_types())


def test_what_is_not_tried_is_said_in_the_docs():
    page = (Path(__file__).resolve().parents[3] / "docs" / "lm.md").read_text(encoding="utf-8")
    for name in UNTRIED:
        assert f"`{name}`" in page
    for family in load_catalog().families:
        if not family.native and family.model_type not in {"unknown", "bert", "xlm-roberta"}:
            assert f"`{family.model_type}`" in page, family.model_type
            assert family.reason
