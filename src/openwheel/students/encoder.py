"""Loads a frozen sentence encoder: text in, one unit vector out. Needs the extra ``encoder``."""

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from openwheel.errors import SettingError
from openwheel.inference.checkpoint import HUB_ID
from openwheel.students.ngrams import LONGEST_TEXT

BATCH = 64

# What is then scaled to unit length is the same whether divided by n or by its root.
POOLINGS = {
    "mean": {"pooling_mode_mean_tokens", "pooling_mode_mean_sqrt_len_tokens"},
    "cls": {"pooling_mode_cls_token"},
    "last": {"pooling_mode_lasttoken"},
}


class TextEncoder(Protocol):
    """The protocol of an encoder: it turns texts into vectors.

    Attributes:
        name: Hub id or folder it was loaded from.
        fingerprint: Hash of its weights and settings; a student refuses another one.
    """

    name: str
    fingerprint: str

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions)."""


class SentenceEncoder:
    """A transformers encoder with the pooling its folder declares (mean if it declares none).

    Attributes:
        name: Hub id or folder it was loaded from.
        fingerprint: Hash of its weights, vocabulary, pooling and length.
        model: The transformers model.
        tokenizer: Its tokenizer.
        pooling: ``mean``, ``cls`` or ``last``: how states become one vector.
        longest: How many tokens of a text it reads.
    """

    def __init__(self, name: str) -> None:
        """Load an encoder.

        Args:
            name: A hub id, or a folder with ``config.json``, a tokenizer and safetensors weights.

        Raises:
            SettingError: The extra is not installed, or this is no encoder that can be loaded.
        """
        if not Path(name).is_dir() and not HUB_ID.fullmatch(name):
            raise SettingError(f"The encoder must be a folder or an id of the hub, was {name!r}")
        # Two spinning OpenMP threads beside a busy process ran five times slower; set both before
        # torch is imported, which reads them once.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            import torch  # noqa: PLC0415 - heavy, and only this rung needs it
            from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415
            from transformers.utils import cached_file  # noqa: PLC0415
        except ImportError as error:
            raise SettingError(
                "The encoder rung needs the extra `encoder`: pip install 'openwheel[encoder]' "
                f"({error})"
            ) from None
        self.name = name
        self._torch = torch
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            model, loading = AutoModel.from_pretrained(
                name, use_safetensors=True, output_loading_info=True
            )
            self.model = model.eval()
            self.pooling = _pooling(_declared(cached_file, name, "1_Pooling/config.json"))
            declared = _declared(cached_file, name, "sentence_bert_config.json")
            self.longest = _longest(declared, model.config)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise SettingError(
                f"The encoder {name!r} must be a hub id or a folder that transformers can load "
                f"from safetensors; loading it gave: {error}"
            ) from None
        # A head for the first token is often not saved, and not used here.
        absent = {key for key in loading["missing_keys"] if key.split(".")[0] == "pooler"}
        if lacking := sorted(set(loading["missing_keys"]) - absent):
            raise SettingError(
                f"The encoder {name!r} must have all of its weights; {lacking[0]!r} is not there"
            )
        # Tokenizers written in Rust may not be used by two threads at once.
        self._lock = threading.Lock()
        self.fingerprint = _fingerprint(
            {key: value for key, value in model.state_dict().items() if key not in absent},
            [self.pooling, self.longest, sorted(self.tokenizer.get_vocab().items())],
        )

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions), float32."""
        torch = self._torch
        texts = [readable(text) for text in texts]
        # Texts of like length together, so that little is spent on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), self.model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                with self._lock:
                    batch = self.tokenizer(
                        [texts[i] for i in rows],
                        padding=True,
                        truncation=True,
                        max_length=self.longest,
                        return_tensors="pt",
                    )
                if not batch["attention_mask"].numel():
                    continue  # not one token, not even a special one: no direction
                states = self.model(**batch).last_hidden_state
                pooled = pool(states, batch["attention_mask"], self.pooling)
                vectors[rows] = torch.nn.functional.normalize(pooled.float(), dim=1).numpy()
        return vectors


def readable(text: str) -> str:
    """Return the readable part of a text: a tokenizer cannot read text that UTF-8 cannot encode."""
    return text[:LONGEST_TEXT].encode("utf-8", "replace").decode()


def pool(states: Any, mask: Any, pooling: str) -> Any:
    """Return one vector of each text's states, shape (texts, dimensions), as torch tensors."""
    # A text without a token keeps the zero vector, whatever a model returns for padding alone.
    states = states.masked_fill(~mask.bool().unsqueeze(-1), 0)
    rows = range(len(states))
    if pooling == "cls":
        return states[rows, mask.argmax(1)]
    if pooling == "last":
        return states[rows, mask.shape[1] - 1 - mask.flip(1).argmax(1)]
    return states.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _declared(cached_file: Any, name: str, file: str) -> dict[str, Any]:
    """Return a JSON object that a folder or hub repository holds; empty if it holds none."""
    path = cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    found = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    if not isinstance(found, dict):
        raise ValueError(f"{file} must hold a JSON object")
    return found


def _pooling(declared: dict[str, Any]) -> str:
    """Return ``mean``, ``cls`` or ``last`` as sentence-transformers' pooling declares it."""
    modes = {key for key, value in declared.items() if key.startswith("pooling_mode_") and value}
    for pooling, names in POOLINGS.items():
        if modes <= names and (modes or pooling == "mean"):
            return pooling
    raise ValueError(f"pooling must be mean, cls or last, was {', '.join(sorted(modes))}")


def _longest(declared: dict[str, Any], config: Any) -> int:
    """Return how many tokens of a text are read: as declared, else at most 512."""
    length = declared.get("max_seq_length")
    if isinstance(length, int):
        return length
    return min(512, getattr(config, "max_position_embeddings", 512))


def _fingerprint(weights: dict[str, Any], settings: Any) -> str:
    """Return a hash of weights and settings, which identifies the certified encoder."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
