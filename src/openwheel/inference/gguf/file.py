"""Writing a GGUF file, and reading it back to see that it says what the checkpoint says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np
import numpy.typing as npt
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
)

from openwheel.errors import ModelError
from openwheel.inference.gguf import quantization
from openwheel.inference.gguf.families import FAMILIES, Family, Keys, keys_of
from openwheel.inference.gguf.tensors import Tensors
from openwheel.inference.gguf.tokenizer import Vocabulary, describe

_ROWS = 4096


class GgufReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        architecture: Its name in GGUF.
        precision: ``f32``, ``f16``, ``bf16`` or ``q8_0``.
        tokenizer: ``tokenizer.ggml.model``.
        pre_tokenizer: ``tokenizer.ggml.pre``.
        tensors: How many.
        bytes: Of the file.
        notes: What the file cannot say, in a sentence each.
    """

    architecture: str
    precision: str
    tokenizer: str
    pre_tokenizer: str
    tensors: int
    bytes: int
    notes: tuple[str, ...]


def family_of(config: Any) -> Family:
    """Return the row of a model's family.

    Raises:
        ModelError: It is not among those that can be written.
    """
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"The export to GGUF knows the families {', '.join(FAMILIES)}; this model is "
            f"{config.model_type}"
        )
    return FAMILIES[config.model_type]


def text_part(config: Any) -> Any:
    """Return the configuration of the causal language model that transformers makes of one.

    It is the text part of a model that reads images too, where a class of its own has that part.
    """
    text, known = config.get_text_config(), MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return text if known is not None and known.config_class is type(text) else config


def write_gguf(
    source: Path,
    target: Path,
    *,
    precision: str,
    name: str,
    license_id: str = "",
    texts: Sequence[str] = (),
) -> GgufReport:
    """Write a checkpoint as one GGUF file, and check the file against the checkpoint.

    Args:
        source: The checkpoint's folder: configuration, safetensors and tokenizer.
        target: The file to write.
        precision: ``f32``, ``f16``, ``bf16`` or ``q8_0``; vectors are always ``f32``.
        name: What the model is called.
        license_id: An SPDX id or LicenseRef, if known.
        texts: Texts of the task, on which the tokenizer's description is tried.

    Raises:
        ModelError: The family or the tokenizer is not one that can be written, or the file read
            back differs.
        OSError: The file cannot be written.
    """
    if precision not in quantization.PRECISIONS:
        raise ModelError(
            f"The precision of a GGUF file must be one of "
            f"{', '.join(quantization.PRECISIONS)}, was {precision!r}"
        )
    config = text_part(AutoConfig.from_pretrained(source))
    family = family_of(config)
    keys = keys_of(config, family)
    tensors = Tensors(source, config, family)
    ends = _ends(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    vocabulary = describe(tokenizer, tensors.shapes["token_embd.weight"][0], ends, texts)

    writer = gguf.GGUFWriter(None, family.architecture)
    writer.add_name(name)
    writer.add_type("model")
    if license_id:
        writer.add_license(license_id)
    writer.add_file_type(quantization.file_type(precision))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in keys.items():
        _add(writer, f"{family.architecture}.{key}", value)
    _add_vocabulary(writer, vocabulary)
    kinds = {name: quantization.kind_of(shape, precision) for name, shape in tensors}
    for name_, shape in tensors:
        kind = kinds[name_]
        writer.add_tensor_info(
            name_,
            shape,
            np.dtype(np.float32),
            quantization.stored_bytes(shape, kind),
            raw_dtype=kind,
        )
    try:
        writer.write_header_to_file(target)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name_, _ in tensors:
            writer.write_tensor_data(quantization.pack(tensors.read(name_), kinds[name_]))
    finally:
        writer.close()
    check_gguf(target, tensors, keys, vocabulary, family)
    notes = [*vocabulary.notes, *tensors.notes]
    if keys["context_length"] != config.max_position_embeddings:
        notes.append(
            f"The context is {keys['context_length']} tokens, the model's sliding window: beyond "
            "it llama.cpp would attend further than the model was trained to."
        )
    return GgufReport(
        architecture=family.architecture,
        precision=precision,
        tokenizer=vocabulary.model,
        pre_tokenizer=vocabulary.pre,
        tensors=len(kinds),
        bytes=target.stat().st_size,
        notes=tuple(notes),
    )


def check_gguf(
    path: Path, tensors: Tensors, keys: Keys, vocabulary: Vocabulary, family: Family
) -> None:
    """Read a file back and compare all of it with what it was made of.

    Raises:
        ModelError: A key, a token or a tensor differs by more than its precision's rounding.
    """
    reader = gguf.GGUFReader(path)
    for key, value in keys.items():
        found = reader.fields[f"{family.architecture}.{key}"].contents()
        same = np.isclose(found, value, rtol=1e-6) if isinstance(value, float) else found == value
        if not same:
            raise ModelError(f"The GGUF file {path} says {key}={found}, must be {value}")
    if tuple(reader.fields["tokenizer.ggml.tokens"].contents()) != vocabulary.tokens:
        raise ModelError(f"The tokens in the GGUF file {path} are not the tokenizer's")
    written = {tensor.name: tensor for tensor in reader.tensors}
    if set(written) != set(tensors.shapes):
        raise ModelError(f"The GGUF file {path} does not hold the checkpoint's tensors")
    for name, shape in tensors:
        stored, kind = written[name].data, written[name].tensor_type
        if tuple(written[name].shape)[::-1] != shape or not _holds(
            stored, kind, tensors.read(name)
        ):
            raise ModelError(f"The tensor {name} in the GGUF file {path} differs from its source")


def _holds(stored: npt.NDArray[Any], kind: Any, true: npt.NDArray[np.float32]) -> bool:
    """Whether stored values differ from the true ones by their precision's rounding at most."""
    rows = true.reshape(-1, true.shape[-1])
    packed = stored.reshape(len(rows), -1)
    # Some rows at a time: of an embedding, half a dozen copies would fill a small machine.
    for at in range(0, len(rows), _ROWS):
        part = rows[at : at + _ROWS]
        values = quantization.unpack(packed[at : at + _ROWS], kind).reshape(part.shape)
        if not (np.abs(values - part) <= quantization.rounding(part, kind)).all():
            return False
    return True


def _ends(source: Path) -> list[int]:
    if not (source / "generation_config.json").exists():
        return []
    ends = GenerationConfig.from_pretrained(source).eos_token_id
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def _add(writer: Any, key: str, value: int | float | str | bool | list[int] | list[bool]) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores:
        writer.add_token_scores(list(vocabulary.scores))
        writer.add_add_space_prefix(vocabulary.add_space_prefix)
    if vocabulary.merges:
        writer.add_token_merges(list(vocabulary.merges))
    add = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
        "eot": writer.add_eot_token_id,
    }
    for name, token in vocabulary.special.items():
        add[name](token)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)
