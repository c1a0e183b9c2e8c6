"""Writes a torch encoder as an ONNX graph with weights in 8 bits."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
import torch

from openwheel.errors import ModelError, OpenwheelError
from openwheel.students.encoder import SentenceEncoder, readable
from openwheel.students.onnx_encoder import Body, OnnxEncoder

SAME = 0.999
"""Least cosine between a text's vector by the graph in 32 bits and by torch: it is one model."""

CLOSE = 0.98
"""Least mean cosine between vectors in 8 bits and torch's; MiniLM has 0.992."""

TRIED = 64
"""Texts that a graph is tried on."""


class Written(NamedTuple):
    """An encoder's files, ``int8`` or ``float32``, and their mean cosine to torch's vectors."""

    body: Body
    precision: str
    likeness: float


class _Alone(torch.nn.Module):
    """One text without padding in, its unit vector out."""

    def __init__(self, model: Any, pooling: str) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, input_ids: Any) -> Any:
        states = self.model(input_ids=input_ids).last_hidden_state
        return torch.nn.functional.normalize(pool_alone(states, self.pooling), dim=1)


def pool_alone(states: Any, pooling: str) -> Any:
    """Return one vector of the states of a text without padding, shape (1, dimensions)."""
    if pooling == "cls":
        return states[:, 0]
    return states[:, -1] if pooling == "last" else states.mean(1)


def write_onnx(encoder: SentenceEncoder, model: Any, texts: Sequence[str]) -> Written:
    """Write an encoder as ONNX, and compare its vectors with torch's.

    Args:
        encoder: Its tokenizer, pooling and length.
        model: Its model, which may have been trained since it was loaded; on the CPU, in 32 bits.
        texts: Texts to try it on.

    Raises:
        ModelError: It cannot be written, or the written graph gives other vectors.
    """
    texts = [text for text in texts[: 4 * TRIED] if text.strip()][:TRIED] or ["a text"]
    tokenizer = tokenizer_of(encoder, texts)
    alone = _Alone(model.eval(), encoder.pooling).eval()
    with torch.inference_mode():
        ids = [tokenizer.encode(readable(text)).ids for text in texts]
        wanted = np.stack([alone(torch.tensor([each]))[0].numpy() for each in ids if each])
    with tempfile.TemporaryDirectory(prefix="openwheel-onnx-") as scratch:
        plain, small = Path(scratch, "float32.onnx"), Path(scratch, "int8.onnx")
        export(alone, plain, encoder, outputs=["vector"])
        likeness = _likeness(encoder, plain, tokenizer, texts=texts, wanted=wanted)
        if not likeness.min() >= SAME:
            raise ModelError(
                f"The encoder {encoder.name!r} must give the same vectors in ONNX; on one text "
                f"their cosine was {likeness.min():.4f}"
            )
        quantize(plain, small)
        close = _likeness(encoder, small, tokenizer, texts=texts, wanted=wanted)
        chosen, precision = (small, "int8") if close.mean() >= CLOSE else (plain, "float32")
        body = Body(chosen.read_bytes(), tokenizer.to_str().encode())
    return Written(body, precision, float((close if precision == "int8" else likeness).mean()))


def tokenizer_of(encoder: SentenceEncoder, texts: Sequence[str]) -> tokenizers.Tokenizer:
    """Return an encoder's tokenizer without transformers around it, tried on some texts.

    Raises:
        ModelError: It has none, or one that reads these texts in another way.
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
    except AttributeError:
        raise ModelError(
            f"The encoder {encoder.name!r} must have a tokenizer.json to be written as ONNX"
        ) from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoder.longest)
    for text in texts:
        wanted = encoder.tokenizer(readable(text), truncation=True, max_length=encoder.longest)[
            "input_ids"
        ]
        if tokenizer.encode(readable(text)).ids != list(wanted):
            raise ModelError(
                f"The encoder {encoder.name!r} must read texts as its tokenizer.json does"
            )
    return tokenizer


def export(alone: Any, path: Path, encoder: SentenceEncoder, *, outputs: list[str]) -> None:
    """Write a module that reads the tokens of one text as ONNX, in 32 bits.

    Args:
        alone: Takes ``input_ids``, shape (1, length).
        path: Where the graph goes.
        encoder: Whose tokens it reads.
        outputs: Names of what it returns.

    Raises:
        ModelError: It cannot be written.
    """
    example = torch.arange(4, 11).unsqueeze(0) % len(encoder.tokenizer)
    length = torch.export.Dim("length", min=1, max=encoder.longest)
    try:
        program = torch.onnx.export(
            alone,
            (example,),
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=["input_ids"],
            output_names=outputs,
            dynamic_shapes={"input_ids": {1: length}},
        )
        program.save(path)
    except (RuntimeError, ValueError, TypeError, ImportError, OSError, AttributeError) as error:
        raise ModelError(
            f"The encoder {encoder.name!r} cannot be written as ONNX: {str(error)[:500]}"
        ) from None


def quantize(plain: Path, small: Path) -> None:
    """Write a graph with its matrices in 8 bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - pulls onnx

    # A scale a row, since a few large weights otherwise cost all others their precision; and 7
    # bits, since processors without VNNI add pairs of products in 16 bits, which 8 overflow: a
    # student certified on one machine must answer the same on another.
    quantize_dynamic(plain, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def _likeness(
    encoder: SentenceEncoder,
    path: Path,
    tokenizer: tokenizers.Tokenizer,
    *,
    texts: Sequence[str],
    wanted: Any,
) -> Any:
    """Return the cosine between a graph's vectors and those wanted, shape (n,)."""
    try:
        loaded = OnnxEncoder(encoder.name, Body(path.read_bytes(), tokenizer.to_str().encode()))
        found = loaded.embed(texts)
    except OpenwheelError as error:
        raise ModelError(f"The encoder {encoder.name!r} cannot be run in ONNX: {error}") from None
    return (found[found.any(axis=1)] * wanted).sum(axis=1)
