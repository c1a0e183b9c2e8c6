"""The exact rung: answers inputs that always got one answer."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import StudentFileError
from openwheel.students.student import Fitted, Inputs, LabelStudent, Predictions

KEY_BYTES = 16


class ExactSettings(msgspec.Struct, frozen=True):
    """What is saved of an exact student beside its arrays."""

    variables: tuple[int, ...]
    answers: tuple[str, ...]


class ExactStudent(LabelStudent):
    """Remembers inputs; confidence grows with how often the teacher gave the same answer."""

    rung = "exact"

    def __init__(
        self,
        *,
        variables: tuple[int, ...],
        answers: tuple[str, ...],
        memory: dict[bytes, tuple[int, int]],
    ) -> None:
        self.variables = variables
        self.answers = answers
        self.memory = memory

    def predict(self, inputs: Sequence[Inputs]) -> Predictions:
        """Answer a batch."""
        found = [self.predict_one(values) for values in inputs]
        return Predictions(
            np.array([label for label, _ in found], np.int64),
            np.array([confidence for _, confidence in found], np.float64),
        )

    def predict_one(self, inputs: Inputs) -> tuple[int, float]:
        """Answer one input."""
        seen = self.memory.get(input_key(inputs, self.variables))
        return (-1, 0.0) if seen is None else (seen[0], _confidence(seen[1]))

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save."""
        settings = ExactSettings(self.variables, self.answers)
        keys = np.frombuffer(b"".join(self.memory), np.uint8).reshape(-1, KEY_BYTES)
        values = np.array(list(self.memory.values()), np.int64).reshape(-1, 2)
        arrays: dict[str, npt.NDArray[Any]] = {
            "keys": keys.copy(),
            "labels": values[:, 0].copy(),
            "times": values[:, 1].copy(),
        }
        return msgspec.to_builtins(settings), arrays

    @classmethod
    def from_state(
        cls, settings: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]
    ) -> "ExactStudent":
        """Rebuild a saved student.

        Raises:
            StudentFileError: A part is missing, or parts do not fit.
        """
        try:
            known = msgspec.convert(settings, ExactSettings)
            keys, labels, times = arrays["keys"], arrays["labels"], arrays["times"]
        except (KeyError, msgspec.ValidationError) as error:
            raise StudentFileError(f"The student's files lack a part: {error}") from None
        if not len(keys) == len(labels) == len(times):
            raise StudentFileError(
                f"The student's files must hold a label and a count for each of {len(keys)} keys, "
                f"they hold {len(labels)} and {len(times)}"
            )
        memory = {
            key.tobytes(): (int(label), int(count))
            for key, label, count in zip(keys, labels, times, strict=True)
        }
        return cls(variables=known.variables, answers=known.answers, memory=memory)


def input_key(inputs: Inputs, variables: tuple[int, ...]) -> bytes:
    """Return the key of an input: runs of white space are one space, all else is exact.

    Variables have no line breaks left, so a line break between two keeps them apart.
    """
    text = "\n".join([" ".join(inputs[i].split()) for i in variables if i < len(inputs)])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def fit_exact(
    inputs: Sequence[Inputs], answers: Sequence[str], *, variables: tuple[int, ...]
) -> Fitted:
    """Remember inputs, and replay the training exchanges in order to measure the confidence.

    Args:
        inputs: In order of arrival.
        answers: The teacher's canonical answers.
        variables: Which of the inputs matter.
    """
    names = tuple(sorted(set(answers)))
    index = {name: i for i, name in enumerate(names)}
    seen: dict[bytes, Counter[int]] = {}
    confidence = np.zeros(len(inputs))
    agrees = np.zeros(len(inputs), np.bool_)
    for row, (values, answer) in enumerate(zip(inputs, answers, strict=True)):
        label = index[answer]
        before = seen.setdefault(input_key(values, variables), Counter())
        if len(before) == 1:
            ((known, times),) = before.items()
            confidence[row] = _confidence(times)
            agrees[row] = known == label
        before[label] += 1
    memory = {
        key: next(iter(counter.items())) for key, counter in seen.items() if len(counter) == 1
    }
    student = ExactStudent(variables=variables, answers=names, memory=memory)
    return Fitted(student, confidence, agrees, np.arange(len(inputs)))


def _confidence(times: int) -> float:
    """Return the rule of succession's probability that the same answer comes once more."""
    return (times + 1) / (times + 2)
