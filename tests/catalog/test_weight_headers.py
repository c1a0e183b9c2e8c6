"""Headers of files that the formats' own libraries wrote, and of files that are none."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from openwheel.catalog.weight_headers import Tensor, read_header
from openwheel.errors import CatalogError


def test_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {"a": np.zeros((3, 4), np.float16), "b": np.zeros(5, np.float32)}
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_header(path)
    assert {*header.tensors} == {Tensor("a", 12, 24), Tensor("b", 5, 20)}
    assert header.metadata == {"format": "pt"}


def test_gguf(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the extra `export` is not installed")
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("A model")
    writer.add_block_count(7)
    writer.add_rope_freq_base(1e6)
    writer.add_token_list(["a", "bc", "def"])
    writer.add_token_types([1, 2, 3])
    writer.add_tensor("token_embd.weight", np.zeros((6, 5), np.float32))
    writer.add_tensor("output.weight", np.zeros((3, 5), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(path)
    assert header.metadata["general.name"] == "A model"
    assert header.metadata["llama.block_count"] == 7
    assert header.metadata["llama.rope.freq_base"] == 1e6
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert [(one.name, one.values) for one in header.tensors] == [
        ("token_embd.weight", 30),
        ("output.weight", 15),
    ]
    # Between tensors there is room, so that each begins at a multiple of 32 bytes.
    assert [one.size for one in header.tensors] == [128, 32]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.safetensors", b"", "must be a safetensors file"),
        ("model.safetensors", b"\xff" * 9, "would have 18446744073709551615 bytes"),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0[]", "must be a safetensors file"),
        ("model.gguf", b"GGUF", "must be a GGUF file"),
        ("model.gguf", b"GGUX" + bytes(20), "begins with b'GGUX'"),
        ("model.gguf", b"GGUF\x03\0\0\0" + bytes(8) + b"\x01" + bytes(7), "must be a GGUF file"),
    ],
)
def test_what_is_no_such_file(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogError, match=says):
        read_header(tmp_path / name)
