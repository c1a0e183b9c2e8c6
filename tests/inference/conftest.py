"""Tiny models as GGUF files, with adapters, and llama.cpp in front of them."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from inference.tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny-qwen3"))
