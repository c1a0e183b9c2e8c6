"""A tiny encoder with random weights, made in the test run."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from openwheel.students.encoder import SentenceEncoder
from openwheel.students.onnx_encoder import OnnxEncoder

MakeEncoder = Callable[..., Path]


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> MakeEncoder:
    """Save a random BERT and a tokenizer of letters; returns its folder."""
    # As the product does before it imports torch: see SentenceEncoder.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch = pytest.importorskip("torch", reason="the extra `encoder` is not installed")
    transformers = pytest.importorskip("transformers", reason="the extra is not installed")
    tokenizers = pytest.importorskip("tokenizers")
    torch.set_num_threads(1)  # a tiny model gains nothing from two

    def make(
        *, seed: int = 0, pooling: str = "", pickled: bool = False, pooler: bool = True
    ) -> Path:
        folder = tmp_path_factory.mktemp("encoder")
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "topic", "kind", "answer", *letters]
        tokens += [f"##{token}" for token in letters]
        vocabulary = {token: i for i, token in enumerate(tokens)}
        raw = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
        raw.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        raw.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            special_tokens=[(name, raw.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
        )
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=raw,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
        ).save_pretrained(folder)
        torch.manual_seed(seed)
        config = transformers.BertConfig(
            vocab_size=raw.get_vocab_size(),
            hidden_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
        model = transformers.BertModel(config, add_pooling_layer=pooler)
        if pickled:
            config.save_pretrained(folder)
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        else:
            model.save_pretrained(folder)
        if pooling:
            (folder / "1_Pooling").mkdir()
            (folder / "1_Pooling" / "config.json").write_text(pooling)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_encoder(make_encoder: MakeEncoder) -> Any:
    return SentenceEncoder(str(make_encoder()))


def onnx_here(folder: Path, texts: Sequence[str] = ()) -> OnnxEncoder:
    """Do what the process that writes an encoder as ONNX does, in this one."""
    from openwheel.students.tune.export import write_onnx

    encoder = SentenceEncoder(str(folder))
    with warnings.catch_warnings(action="ignore"):  # as in that process
        return OnnxEncoder(encoder.name, write_onnx(encoder, encoder.model, texts).body)
