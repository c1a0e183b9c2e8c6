"""Writes a tuned encoder with its heads as an ONNX graph, in 32 or in 8 bits."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch

from openwheel.errors import ModelError
from openwheel.students.encoder import SentenceEncoder
from openwheel.students.onnx_encoder import Body, Graph
from openwheel.students.tokens.reader import TAGGER
from openwheel.students.tokens.train import TokenModel, TokenTexts
from openwheel.students.tune.export import export, pool_alone, quantize

SAME = 0.01
"""Most difference between a probability by the graph in 32 bits and by torch: it is one model."""

TRIED = 32
"""Texts that the graph in 32 bits is tried on."""


class _Alone(torch.nn.Module):
    """One text without padding in; scores of its tokens' tags and of its labels out."""

    def __init__(self, trained: TokenModel) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, input_ids: Any) -> tuple[Any, Any]:
        states = self.trained.model(input_ids=input_ids).last_hidden_state
        pooled = pool_alone(states, self.trained.pooling)
        return self.trained.tags(states), self.trained.labels(pooled)


def write_tagger(
    encoder: SentenceEncoder,
    trained: TokenModel,
    texts: TokenTexts,
    tokenizer: tokenizers.Tokenizer,
    precision: str,
) -> Body:
    """Write a tuned encoder as ONNX.

    Args:
        encoder: The encoder that it was made from.
        trained: The trained model, on the CPU, in 32 bits.
        texts: Texts, of which some try the graph in 32 bits.
        tokenizer: The encoder's.
        precision: Of its matrices: ``float32`` or ``int8``.

    Raises:
        ModelError: It cannot be written, or the graph in 32 bits says otherwise than torch.
    """
    alone = _Alone(trained.eval()).eval()
    with tempfile.TemporaryDirectory(prefix="openwheel-onnx-") as scratch:
        plain, small = Path(scratch, "float32.onnx"), Path(scratch, "int8.onnx")
        export(alone, plain, encoder, outputs=["tags", "labels"])
        body = Body(plain.read_bytes(), tokenizer.to_str().encode())
        _require_same(encoder, alone, body, texts)
        if precision == "int8":
            quantize(plain, small)
            body = body._replace(graph=small.read_bytes())
    return body


def _require_same(encoder: SentenceEncoder, alone: _Alone, body: Body, texts: TokenTexts) -> None:
    """Raise a ModelError unless a graph says what torch says."""
    graph = Graph(body, TAGGER)
    for ids in [each for each in texts.ids if each][:TRIED]:
        with torch.inference_mode():
            wanted = [each.numpy() for each in alone(torch.tensor([ids]))]
        found = graph.run(ids)
        apart = max(
            float(np.abs(_softmax(one) - _softmax(other)).max(initial=0.0))
            for one, other in zip(found, wanted, strict=True)
        )
        if not apart <= SAME:
            raise ModelError(
                f"The encoder {encoder.name!r} must say the same of tags and labels in ONNX; on "
                f"one text a probability differed by {apart:.3f}"
            )


def _softmax(scores: Any) -> Any:
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)
