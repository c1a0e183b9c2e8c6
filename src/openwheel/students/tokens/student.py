"""The student of records on the rung ``encoder``: heads and tagger, and a tuned encoder beside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import StudentFileError
from openwheel.students.agreement import Agreement
from openwheel.students.fields.confidence import Confidence
from openwheel.students.fields.student import FieldsStudent, answers_of
from openwheel.students.model import text_of
from openwheel.students.onnx_encoder import TOKENIZER, Body
from openwheel.students.rung import Saved
from openwheel.students.student import Answers, Inputs
from openwheel.students.tokens.joint import Picks, chosen, pairs_of
from openwheel.students.tokens.reader import TAGGER, TokenReader
from openwheel.trust import Base

JOINT = "joint."
"""Before the names of the arrays of its confidence; that of heads and tagger alone is not used."""


class TokenSettings(msgspec.Struct, frozen=True):
    """What is saved of a student beside its arrays.

    Attributes:
        record: The settings of its heads and tagger.
        encoder: Hub id or folder of the encoder that was tuned.
        encoder_fingerprint: Hash of the tuned encoder's files.
        intercepts: Of the models that pick a record.
    """

    record: dict[str, Any]
    encoder: str
    encoder_fingerprint: str
    intercepts: tuple[float, float]


class TokenStudent:
    """A student that writes the surer of two records: by heads and tagger, and by an encoder."""

    rung = "encoder"
    answers: tuple[str, ...] = ()

    def __init__(
        self,
        fields: FieldsStudent,
        *,
        encoder: str,
        reader: TokenReader,
        picks: Picks,
        confidence: Confidence,
    ) -> None:
        self.fields = fields
        self.encoder = encoder
        self.reader = reader
        self.picks = picks
        self.confidence = confidence

    def base(self) -> Base:
        """Return the encoder."""
        return Base(
            id=self.encoder, kind="encoder", fingerprint=self.reader.fingerprint, tuned=True
        )

    def answer_one(self, inputs: Inputs) -> tuple[str, float]:
        """Answer one input."""
        texts, confidence = self.answer([inputs])
        return texts[0], float(confidence[0])

    def answer(self, inputs: Sequence[Inputs]) -> Answers:
        """Answer a batch with records as the teacher would have written them.

        Raises:
            StudentFileError: The graph fails on a text.
        """
        if not inputs:
            return Answers([], np.zeros(0))
        fields = self.fields
        looked = fields.look([text_of(values, fields.settings.variables) for values in inputs])
        readings = looked.readings
        # Without words there is nothing to read, however long or broken the text is.
        scores = self.reader.read(
            [one.text if one.words else "" for one in readings],
            [[(word.start, word.end) for word in one.words] for one in readings],
        )
        pairs = pairs_of(fields, looked, scores)
        able = np.array(
            [[bool(fields.written(draft)) for draft in drafts] for drafts in pairs[:2]], np.bool_
        ).T
        drafts, features = chosen(pairs, self.picks.logits(pairs.features), able)
        confidence = self.confidence.of(features)
        confidence[fields.guard.defers(looked.said.evidence) | ~looked.fits] = 0.0
        return answers_of(fields.sent(drafts, inputs), confidence)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save."""
        record, arrays = self.fields.state()
        settings = TokenSettings(
            record=record,
            encoder=self.encoder,
            encoder_fingerprint=self.reader.fingerprint,
            intercepts=(self.picks.first.intercept, self.picks.second.intercept),
        )
        for name, model in zip(Picks._fields, self.picks, strict=True):
            arrays |= model.arrays(f"picks.{name}")
        arrays |= self.confidence.state(JOINT)
        return msgspec.to_builtins(settings), arrays

    def write_files(self, folder: Path) -> None:
        """Write the tuned encoder.

        Raises:
            StudentFileError: It was not kept, since the student was loaded to answer.
        """
        if self.reader.body is None:
            raise StudentFileError("a student that was loaded cannot be saved: copy its folder")
        (folder / TAGGER).write_bytes(self.reader.body.graph)
        (folder / TOKENIZER).write_bytes(self.reader.body.tokenizer)

    @classmethod
    def from_state(
        cls, settings: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], reader: TokenReader
    ) -> "TokenStudent":
        """Rebuild a saved student.

        Raises:
            StudentFileError: A part is missing, or parts do not fit.
        """
        try:
            known = msgspec.convert(settings, TokenSettings)
            models = [
                Agreement.read(arrays, f"picks.{name}", intercept)
                for name, intercept in zip(Picks._fields, known.intercepts, strict=True)
            ]
            confidence = Confidence.from_state(arrays, JOINT)
        except (KeyError, msgspec.ValidationError) as error:
            raise StudentFileError(f"The student's files lack a part: {error}") from None
        if reader.fingerprint != known.encoder_fingerprint:
            raise StudentFileError(
                f"{TAGGER} is not the encoder that this student was trained with: it hashes to "
                f"{reader.fingerprint[:12]}, that to {known.encoder_fingerprint[:12]}"
            )
        fields = FieldsStudent.from_state(known.record, arrays)
        answers = len(fields.settings.types) + sum(q.answers for q in fields.settings.questions)
        wanted = (len(fields.settings.tags), answers)
        if (reader.tags, reader.answers) != wanted:
            raise StudentFileError(
                f"The student's files do not fit together: {TAGGER} must have {wanted[0]} tags "
                f"and {wanted[1]} answers, has {reader.tags} and {reader.answers}"
            )
        return cls(
            fields,
            encoder=known.encoder,
            reader=reader,
            picks=Picks(*models),
            confidence=confidence,
        )


def load_tokens(saved: Saved) -> TokenStudent:
    """Rebuild a saved student of records on the rung ``encoder``; see `Rung.load`.

    Raises:
        SettingError: The extra is not installed.
    """
    reader = TokenReader(Body(saved.read(TAGGER), saved.read(TOKENIZER)), keep=False)
    return TokenStudent.from_state(saved.settings, saved.arrays, reader)
