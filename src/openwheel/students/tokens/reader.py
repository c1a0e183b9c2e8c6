"""Runs a tuned encoder with its heads as an ONNX graph, without torch.

The graph reads one text at a time, ``input_ids`` of shape (1, length), for the reason that
`openwheel.students.onnx_encoder` gives. It returns the scores of tags at each token, shape
(1, length, tags), and of the answers of all questions, shape (1, answers).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.errors import StudentFileError
from openwheel.students.onnx_encoder import Body, Graph
from openwheel.students.tokens.words import NOWHERE, Spot, first_tokens

FloatArray = npt.NDArray[np.float32]

TAGGER = "tagger.onnx"
"""The graph's file in a student's folder, beside `TOKENIZER`."""


class Scores(NamedTuple):
    """What a body says of texts; a word that it does not read has the score 0 for all tags.

    Attributes:
        tags: Scores of tags at each word, one text after the other, shape (words, tags).
        labels: Scores of the answers of all questions, shape (texts, answers).
    """

    tags: FloatArray
    labels: FloatArray


class TokenReader:
    """A tuned encoder with its heads.

    Attributes:
        tags: How many tags there are.
        answers: How many answers all questions have together.
        body: Its files; None where they were not kept.
        fingerprint: Hash of its files.
    """

    def __init__(self, body: Body, *, keep: bool = True) -> None:
        """Load the graph.

        Args:
            body: Its files.
            keep: Whether to keep them, so that a student that uses it can be saved.

        Raises:
            SettingError: The extra is not installed.
            StudentFileError: The files are not what they must be.
        """
        self._graph = Graph(body, TAGGER)
        try:
            tags, labels = self._graph.shapes
            self.tags, self.answers = int(tags[-1]), int(labels[-1])
        except (ValueError, TypeError, IndexError) as error:
            raise StudentFileError(
                f"{TAGGER} must give scores of tags and of labels: {error}"
            ) from None
        self.body = body if keep else None
        self.fingerprint = body.fingerprint

    def read(self, texts: Sequence[str], words: Sequence[Sequence[Spot]]) -> Scores:
        """Return what the encoder says of texts.

        Args:
            texts: The texts.
            words: Where the words of each start and end.

        Raises:
            StudentFileError: The graph fails on a text.
        """
        tags = [np.zeros((0, self.tags), np.float32)]
        labels = np.zeros((len(texts), self.answers), np.float32)
        for row, (text, spots) in enumerate(zip(texts, words, strict=True)):
            found = self._graph.tokens(text)
            if not found.ids:
                tags.append(np.zeros((len(spots), self.tags), np.float32))
                continue
            tag_scores, label_scores = self._graph.run(found.ids)
            firsts = np.array(first_tokens(found.offsets, spots), np.int64)
            tags.append(tag_scores[0][firsts] * (firsts != NOWHERE)[:, None])
            labels[row] = label_scores[0]
        return Scores(np.concatenate(tags), labels)
