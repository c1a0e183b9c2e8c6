import pytest

from export import tiny
from openwheel.students.draft import DraftSettings, encode_captured, train_draft
from students.draft.answers import captured


@pytest.fixture(scope="session")
def tokenizer():
    return tiny.byte_level("qwen2")


@pytest.fixture(scope="session")
def examples(tokenizer):
    return encode_captured(tokenizer, captured(160), context=256)


@pytest.fixture(scope="session")
def target(examples):
    """A tiny model that has learned to answer so; it stands for the hosted teacher."""
    model = tiny.model_of("qwen2", num_hidden_layers=3)
    train_draft(model, examples, DraftSettings(epochs=4, learning_rate=3e-3, batch=8))
    return model
