import os
import warnings

import pytest
from transformers import AutoModelForCausalLM

from export import tiny
from students.conftest import make_encoder

__all__ = ["make_encoder"]  # a fixture

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A tiny checkpoint of the llama family, and a licence beside it."""
    folder = tiny.saved(tmp_path_factory.mktemp("base") / "base", "llama")
    (folder / "LICENSE").write_text("Do as you like.\n")
    return folder


@pytest.fixture(scope="session")
def adapter(base, tmp_path_factory):
    """An adapter for it whose weights are far from nothing."""
    from peft import LoraConfig, get_peft_model  # 20 seconds of imports, for those who need it

    folder = tmp_path_factory.mktemp("adapter") / "student" / "adapter"
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(
        r=4,
        target_modules=["q_proj", "v_proj", "down_proj"],
        init_lora_weights=False,
        base_model_name_or_path=str(base),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # of PEFT's use of what transformers will drop
        warnings.simplefilter("ignore", FutureWarning)
        get_peft_model(model, config).save_pretrained(folder)
    return folder
