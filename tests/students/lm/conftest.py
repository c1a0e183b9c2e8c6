"""A tiny causal language model with random weights, and a tokenizer trained in the test run."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.tiny import save_tiny
from openwheel.students.lm import fit
from openwheel.students.lm.order import ADAPTER, Event, Order, Report
from openwheel.students.lm.train import train_adapter

from .made import TEMPLATE, corpus

MakeBase = Callable[..., Path]


def train_here(order: Order, tell: Callable[[Event], None] | None = None) -> tuple[Path, Report]:
    """Do what the process that trains does, in this one, which has PEFT imported already."""
    from openwheel.students.lm.work import LOCK, carry_out

    with (order.path / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return order.path / ADAPTER, carry_out(order, tell or (lambda _: None))


@pytest.fixture(
    scope="session",
    params=[train_here, pytest.param(train_adapter, marks=pytest.mark.evidence)],
    ids=["here", "process"],
)
def train(request: pytest.FixtureRequest) -> Any:
    """Train as the learner does; in a process for each run only where time is not short."""
    return request.param


@pytest.fixture(scope="session")
def make_base(tmp_path_factory: pytest.TempPathFactory) -> MakeBase:
    """Save a random model of a family and a byte-level tokenizer; returns its folder."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")
    pytest.importorskip("peft", reason="the extra `lm` is not installed")
    import transformers

    torch.set_num_threads(1)
    tokenizer = train_tokenizer()

    def make(model_type: str = "qwen3", *, seed: int = 0, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp(model_type)
        shape = {
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": False,
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        torch.manual_seed(seed)
        config = transformers.CONFIG_MAPPING[model_type](**{**shape, **changes})
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_base(make_base: MakeBase) -> Path:
    return make_base()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny-qwen3"))


@pytest.fixture(scope="module")
def fit_trains(train: Any) -> Iterator[None]:
    """Have the whole rung train so too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "train_adapter", train)
        yield


def train_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(corpus(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
