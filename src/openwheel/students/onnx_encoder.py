"""Runs a sentence encoder as an ONNX graph, with ONNX Runtime and tokenizers, without torch.

The graph reads one text at a time, ``input_ids`` of shape (1, length), and gives its unit vector,
shape (1, dimensions). Weights in 8 bits are multiplied with activations whose scale depends on the
whole input. Among other texts a text would get another vector than alone, and a gateway, which
reads one request at a time, would serve another student than the certified one.
"""

import hashlib
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.errors import SettingError, StudentFileError
from openwheel.students.encoder import readable

if TYPE_CHECKING:
    import tokenizers

GRAPH, TOKENIZER = "encoder.onnx", "tokenizer.json"
"""Its files in a student's folder."""


class Body(NamedTuple):
    """An encoder's files: the graph, and a tokenizer that cuts texts to the length it reads."""

    graph: bytes
    tokenizer: bytes

    @property
    def fingerprint(self) -> str:
        """Hash of both files."""
        digest = hashlib.sha256(hashlib.sha256(self.graph).digest())
        digest.update(hashlib.sha256(self.tokenizer).digest())
        return digest.hexdigest()


class Graph:
    """A graph in ONNX with its tokenizer, run one text at a time in the calling thread.

    Attributes:
        shapes: The shape of each of its outputs; numbers where they are fixed.
    """

    def __init__(self, body: Body, name: str = GRAPH) -> None:
        """Load a graph.

        Args:
            body: Its files.
            name: The name of the graph's file, for what is said of it.

        Raises:
            SettingError: The extra is not installed.
            StudentFileError: The files are not what they must be.
        """
        try:
            import onnxruntime  # noqa: PLC0415 - only this rung needs them
            import tokenizers  # noqa: PLC0415
            from onnxruntime.capi import onnxruntime_pybind11_state as raised  # noqa: PLC0415
        except ImportError as error:
            raise SettingError(
                "An encoder in ONNX needs the extra `encoder`: pip install 'openwheel[encoder]' "
                f"({error})"
            ) from None
        # They share no base class.
        self._failures: tuple[type[Exception], ...] = (
            *(raised.Fail, raised.InvalidArgument, raised.InvalidGraph, raised.InvalidProtobuf),
            *(raised.NotImplemented, raised.RuntimeException),
        )
        self._name = name
        options = onnxruntime.SessionOptions()
        # A short text is too little work for two threads, and requests come side by side.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised, and reported once
        try:
            self._session = onnxruntime.InferenceSession(
                body.graph, options, providers=["CPUExecutionProvider"]
            )
            (self._input,) = [each.name for each in self._session.get_inputs()]
            self.shapes: list[list[Any]] = [each.shape for each in self._session.get_outputs()]
        except (*self._failures, ValueError, TypeError) as error:
            raise StudentFileError(f"{name} must be an encoder in ONNX: {error}") from None
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(body.tokenizer)
        except ValueError as error:
            raise StudentFileError(f"{TOKENIZER} must be a tokenizer: {error}") from None

    def tokens(self, text: str) -> "tokenizers.Encoding":
        """Return a text's tokens."""
        return self._tokenizer.encode(readable(text))

    def run(self, tokens: Sequence[int]) -> list[npt.NDArray[np.float32]]:
        """Return the outputs for one text of at least one token.

        Raises:
            StudentFileError: The graph fails on it.
        """
        try:
            found: list[npt.NDArray[np.float32]] = self._session.run(
                None, {self._input: np.array([tokens], np.int64)}
            )
        except self._failures as error:
            raise StudentFileError(f"{self._name} fails on a text: {error}") from None
        return found


class OnnxEncoder:
    """An encoder that ONNX Runtime runs in the calling thread.

    Attributes:
        name: Hub id or folder of the encoder that it was made from.
        fingerprint: Hash of its files.
        body: Its files; None where they were not kept.
    """

    def __init__(self, name: str, body: Body, *, keep: bool = True) -> None:
        """Load an encoder.

        Args:
            name: Hub id or folder of the encoder that it was made from.
            body: Its files.
            keep: Whether to keep them, so that a student that uses it can be saved.

        Raises:
            SettingError: The extra is not installed.
            StudentFileError: The files are not what they must be.
        """
        self._graph = Graph(body)
        try:
            (shape,) = self._graph.shapes
            self._dimensions = int(shape[-1])
        except (ValueError, TypeError, IndexError) as error:
            raise StudentFileError(f"{GRAPH} must be an encoder in ONNX: {error}") from None
        self.name = name
        self.fingerprint = body.fingerprint
        self.body = body if keep else None

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions), float32.

        Raises:
            StudentFileError: The graph fails on a text.
        """
        vectors = np.zeros((len(texts), self._dimensions), np.float32)
        for row, text in enumerate(texts):
            tokens = self._graph.tokens(text).ids
            if not tokens:
                continue  # not one token, not even a special one: no direction
            vectors[row] = self._graph.run(tokens)[0][0]
        return vectors


class Encoders:
    """Encoders in use, so that students that share one load it once."""

    def __init__(self) -> None:
        self._used: weakref.WeakValueDictionary[str, OnnxEncoder] = weakref.WeakValueDictionary()

    def of_body(self, name: str, body: Body) -> OnnxEncoder:
        """Return the encoder with this content, from any folder or task."""
        found = self._used.get(body.fingerprint)
        if found is None:
            found = self._used[body.fingerprint] = OnnxEncoder(name, body, keep=False)
        return found
