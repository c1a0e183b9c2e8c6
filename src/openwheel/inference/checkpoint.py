"""Where a checkpoint lies and what it is, before any of it is loaded.

A checkpoint is a local folder, or a repository of the Hugging Face hub at one commit. Only
safetensors are read: other weights are pickles, which run code when they are loaded.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from openwheel.errors import ModelError

_COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5")
# What a causal model needs of a repository; never code, never pickles.
_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken"]


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint on this machine.

    Attributes:
        name: As it was asked for.
        path: Its folder.
        revision: The hub's commit it is of, ``""`` for a folder that is of none.
        config: Its ``config.json``.
        weights: Its safetensors files.
    """

    name: str
    path: Path
    revision: str
    config: dict[str, Any]
    weights: tuple[Path, ...]

    @property
    def model_type(self) -> str:
        """The ``model_type`` that its configuration declares."""
        return str(self.config.get("model_type", ""))

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights on disk."""
        return sum(path.stat().st_size for path in self.weights)


def find_checkpoint(name: str, *, revision: str = "") -> Checkpoint:
    """Return a checkpoint, downloading it if it is of the hub and not here yet.

    Args:
        name: A folder, or an id of the hub. A folder is taken where there is one of that name.
        revision: The hub's commit, 40 hexadecimal digits. It may be left out for what the hub's
            local cache holds already; then that commit is used and named.

    Raises:
        ModelError: It is neither, the revision is not a commit, it cannot be downloaded, it has
            no configuration or no safetensors.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision:
            raise ModelError(
                f"The model {name!r} is a folder, which has no revision; {revision!r} was given"
            )
        return _read(name, folder, _commit_of(folder))
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"A model must be a folder or an id of the hub, was {name!r}")
    if revision and not _COMMIT.fullmatch(revision):
        raise ModelError(
            f"The revision of {name} must be a commit of 40 hexadecimal digits, since branches "
            f"and tags move; it was {revision!r}"
        )
    path, commit = _from_hub(name, revision)
    return _read(name, path, commit)


def _from_hub(name: str, revision: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - half a second of imports
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    def fetch(*, local: bool) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                local_files_only=local,
                allow_patterns=_WANTED,
            )
        )

    try:
        path = fetch(local=True)
        # An earlier download may have been broken off before the weights.
        if not revision or list(path.glob("*.safetensors")):
            return path, _commit_of(path)
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        if not revision:
            raise ModelError(
                f"The model {name!r} is neither a folder nor in the hub's local cache. To "
                "download it, name its commit (40 hexadecimal digits) as the revision"
            ) from None
    try:
        return fetch(local=False), revision
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise ModelError(
            f"The model {name} at {revision} cannot be downloaded: {_first_line(error)}"
        ) from None


def _commit_of(folder: Path) -> str:
    """Return the commit of a folder in the hub's cache, which is named by it, else ``""``."""
    # Not resolved: the cache may itself lie behind links.
    whole = folder.absolute()
    if whole.parent.name == "snapshots" and _COMMIT.fullmatch(whole.name):
        return whole.name
    return ""


def _read(name: str, folder: Path, revision: str) -> Checkpoint:
    try:
        written = (folder / "config.json").read_text(encoding="utf-8")
        config = json.loads(written, object_hook=_number)
    except FileNotFoundError:
        raise ModelError(f"The model {name} has no config.json in {folder}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"The config.json of {name} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"The config.json of {name} must be an object, was {config!r:.80}")
    weights = tuple(sorted(folder.glob("*.safetensors")))
    weights = tuple(path for path in weights if not path.name.startswith("adapter_"))
    if not weights:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED)
        held = f"it holds {', '.join(pickled[:3])}" if pickled else "it holds no weights"
        raise ModelError(
            f"The model {name} must have its weights as safetensors (other formats can run code "
            f"when they are loaded); {held}"
        )
    return Checkpoint(name, folder, revision, config, weights)


def _number(value: dict[str, Any]) -> Any:
    """Return the number that transformers 5 writes as an object, since JSON has it not."""
    tag = value.get("__float__") if len(value) == 1 else None
    return float(tag) if tag in {"Infinity", "-Infinity", "NaN"} else value


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
