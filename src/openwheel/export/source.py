"""Finds what is exported: a base, and the adapter that a student learned for it."""

import json
from pathlib import Path

import msgspec

from openwheel.errors import ModelError
from openwheel.inference.checkpoint import find_checkpoint
from openwheel.students.files import SETTINGS
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER
from openwheel.students.tokens.reader import TAGGER

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The base and the adapter to export.

    Attributes:
        base: A folder or an id of the hub.
        revision: With a hub id: its commit.
        adapter: The folder of the adapter; None for a checkpoint that is whole by itself.
        graph: For an encoder in ONNX that the student keeps: its folder. None for another
            encoder, which is then written as ONNX.
        encoder: Whether the base is an encoder, not a causal language model.
        texts: Prompts of the task, rendered, with their answers where they are known: exports are
            compared with the original on these.
    """

    base: str
    revision: str = ""
    adapter: Path | None = None
    graph: Path | None = None
    encoder: bool = False
    texts: tuple[str, ...] = ()


def source_of(folder: Path, texts: tuple[str, ...] = ()) -> Source:
    """Return what lies in a folder: a student's, an adapter's, or a checkpoint's.

    Raises:
        ModelError: It is none of these, or the adapter does not say what its base is.
    """
    for adapter in (folder, folder / "adapter"):
        if (adapter / CONFIG).is_file():
            base, revision = _base_of(adapter)
            return Source(base=base, revision=revision, adapter=adapter, texts=texts)
    if (folder / TAGGER).is_file():
        raise ModelError(
            f"The student at {folder} writes records: its tuned encoder is {TAGGER} there, with "
            f"{TOKENIZER}, as other software can load it; there is nothing to export"
        )
    if (folder / SETTINGS).is_file():
        has_graph = (folder / GRAPH).is_file() and (folder / TOKENIZER).is_file()
        return Source(
            base=_encoder_of(folder), encoder=True, graph=folder if has_graph else None, texts=texts
        )
    if (folder / "config.json").is_file():
        return Source(base=str(find_checkpoint(str(folder)).path), texts=texts)
    raise ModelError(
        f"The folder to export must hold a student, an adapter ({CONFIG}) or a checkpoint "
        f"(config.json), {folder} holds none of these"
    )


def _encoder_of(folder: Path) -> str:
    """Return the encoder of a saved student without an adapter."""
    try:
        saved = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        rung, encoder = saved["rung"], saved["settings"].get("encoder", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"The student at {folder} cannot be read: {error}") from None
    if not encoder:
        raise ModelError(
            f"Students of the rung {rung} hold no model that other software loads; there is "
            "nothing to export"
        )
    return str(encoder)


def _base_of(adapter: Path) -> tuple[str, str]:
    """Return an adapter's base and its commit, as its configuration names them."""
    try:
        config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
        base, revision = config["base_model_name_or_path"], config.get("revision") or ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"The adapter's {adapter / CONFIG} cannot be read: {error}") from None
    if not isinstance(base, str) or not base or not isinstance(revision, str):
        raise ModelError(f"The adapter's {adapter / CONFIG} must name its base, it says {base!r}")
    if not (adapter / WEIGHTS).is_file():
        raise ModelError(f"The adapter at {adapter} must have {WEIGHTS}, it has none")
    # A base that lies on this machine has no revision of its own, whatever the adapter says.
    return base, "" if Path(base).is_dir() else revision
