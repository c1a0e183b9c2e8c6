"""Writes the body of an encoder student in ONNX: one text's token ids in, its unit vector out."""

from pathlib import Path

import numpy as np

from openwheel.errors import ModelError
from openwheel.export.source import Source
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, Body, OnnxEncoder
from openwheel.students.tune.tuning import onnx_encoder

_GENERAL = ("The card has not arrived.", "Straße naïve 漢字 🙂", "12 times out of 345")


def write_encoder(source: Source, folder: Path) -> tuple[str, float | None]:
    """Write an encoder's graph and tokenizer into an existing folder, and try them.

    The graph of a tuned encoder is copied; another's is written from its hub id or folder.

    Returns:
        The precision of the graph's weights (``int8`` or ``float32``), and how near its vectors
        are to the original's where that is at hand.

    Raises:
        ModelError: The encoder cannot be loaded or written, or what was written gives no vectors.
        SettingError: The extra is not installed.
        StudentFileError: The student's graph is not what it must be.
    """
    likeness: float | None = None
    if source.graph is not None:
        body = Body((source.graph / GRAPH).read_bytes(), (source.graph / TOKENIZER).read_bytes())
    else:
        encoder = onnx_encoder(source.base, source.texts)
        if encoder.body is None:
            raise ModelError(f"The encoder {source.base!r} was not written as ONNX")
        body = encoder.body
    (folder / GRAPH).write_bytes(body.graph)
    (folder / TOKENIZER).write_bytes(body.tokenizer)
    exported = OnnxEncoder(
        source.base, Body((folder / GRAPH).read_bytes(), (folder / TOKENIZER).read_bytes())
    )
    texts = [*_GENERAL, *source.texts]
    vectors = exported.embed(texts)
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or not (np.isclose(lengths, 1.0, atol=1e-3)).any():
        raise ModelError(f"The encoder {source.base!r} in ONNX gives no unit vectors")
    if source.graph is None:
        likeness = float(np.mean(np.sum(vectors * _original(source.base, texts), axis=1)))
    return _precision(body.graph), likeness


def _original(name: str, texts: list[str]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    from openwheel.students.encoder import SentenceEncoder  # noqa: PLC0415 - loads torch

    vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]] = SentenceEncoder(name).embed(texts)
    return vectors


def _precision(graph: bytes) -> str:
    """Return whether a graph's matrices are in 8 bits, by the operators that multiply them."""
    return "int8" if b"MatMulInteger" in graph or b"DynamicQuantizeLinear" in graph else "float32"
