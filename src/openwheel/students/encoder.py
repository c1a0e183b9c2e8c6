"""A frozen sentence encoder: text in, one unit vector out. Needs the extra ``encoder``."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openwheel.errors import SettingError

BATCH = 64


class TextEncoder(Protocol):
    """Anything that turns texts into vectors; the rung knows no more of it.

    Attributes:
        name: Hub id or folder it was loaded from.
        fingerprint: Hash of its configuration and weights; a student refuses another one.
    """

    name: str
    fingerprint: str

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions)."""


class SentenceEncoder:
    """A transformers encoder with the pooling its folder declares (mean if it declares none)."""

    def __init__(self, name: str) -> None:
        """Load an encoder.

        Args:
            name: A hub id, or a folder with ``config.json``, a tokenizer and safetensors weights.

        Raises:
            SettingError: The extra is not installed, or this is no encoder that can be loaded.
        """
        # Two spinning OpenMP threads beside a busy process ran five times slower; set both before
        # torch is imported, which reads them once.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            import torch  # noqa: PLC0415 - heavy, and only this rung needs it
            from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415
        except ImportError as error:
            raise SettingError(
                "The encoder rung needs the extra `encoder`: pip install 'openwheel[encoder]' "
                f"({error})"
            ) from None
        self.name = name
        self._torch = torch
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name)
            self._model = AutoModel.from_pretrained(name, use_safetensors=True).eval()
        except (OSError, ValueError, KeyError) as error:
            raise SettingError(
                f"The encoder {name!r} must be a hub id or a folder that transformers can load "
                f"from safetensors; loading it gave: {error}"
            ) from None
        self._pooling = _pooling(Path(name))
        self._longest = _longest(Path(name), self._model.config)
        self.fingerprint = _fingerprint(self._model)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions), float32."""
        torch = self._torch
        # Texts of like length together, so that little is spent on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                batch = self._tokenizer(
                    [texts[i] for i in rows],
                    padding=True,
                    truncation=True,
                    max_length=self._longest,
                    return_tensors="pt",
                )
                states = self._model(**batch).last_hidden_state
                pooled = _pool(states, batch["attention_mask"], self._pooling)
                vectors[rows] = torch.nn.functional.normalize(pooled.float(), dim=1).numpy()
        return vectors


def _pool(states: Any, mask: Any, pooling: str) -> Any:
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return states[range(len(states)), last]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def _pooling(folder: Path) -> str:
    """Return ``mean``, ``cls`` or ``last`` as a sentence-transformers folder declares it."""
    declared = folder / "1_Pooling" / "config.json"
    if not declared.is_file():
        return "mean"
    settings = json.loads(declared.read_text())
    if settings.get("pooling_mode_cls_token"):
        return "cls"
    if settings.get("pooling_mode_lasttoken"):
        return "last"
    return "mean"


def _longest(folder: Path, config: Any) -> int:
    """Return how many tokens of a text are read: what was declared, else at most 512."""
    declared = folder / "sentence_bert_config.json"
    if declared.is_file():
        length = json.loads(declared.read_text()).get("max_seq_length")
        if isinstance(length, int):
            return length
    return min(512, getattr(config, "max_position_embeddings", 512))


def _fingerprint(model: Any) -> str:
    """Return a hash of every weight: a changed encoder must not pass for the certified one."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
