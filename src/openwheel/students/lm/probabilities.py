"""Captured log-probabilities as training targets, where teacher and student share their tokens."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openwheel.students.lm.examples import Example, TopLogprobs


class TokenNames:
    """Token ids by the text that an API shows for them.

    A text that several tokens have, or that is no whole characters, names none.

    Args:
        tokenizer: The base's tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        ids: dict[str, list[int]] = defaultdict(list)
        for token in range(len(tokenizer)):
            ids[tokenizer.decode([token])].append(token)
        self._ids: Mapping[str, int] = {
            text: found[0] for text, found in ids.items() if len(found) == 1 and "�" not in text
        }

    def id_of(self, text: str) -> int | None:
        """Return the token that has this text, None if none or several have."""
        return self._ids.get(text)


def with_probabilities(
    example: Example, logprobs: Sequence[TopLogprobs], names: TokenNames
) -> Example:
    """Return an example with the teacher's probabilities as its target, if they are of its tokens.

    They are where the teacher's tokens are the student's, one by one; an end-of-turn token that
    the API does not show is learned from the answer alone. Else the example stays as it is, and is
    learned from the answer.

    Args:
        example: The exchange as tokens.
        logprobs: For each of the teacher's tokens the likeliest, the one written first.
        names: The student's tokens by their text.
    """
    answer = example.ids[example.prompt :]
    written = [names.id_of(place[0][0]) if place else None for place in logprobs]
    if len(written) not in {len(answer) - 1, len(answer)} or not written:
        return example
    if any(one != other for one, other in zip(written, answer[: len(written)], strict=True)):
        return example
    width = max(len(place) for place in logprobs)
    ids = np.full((len(answer), width), -1, np.int64)
    values = np.zeros((len(answer), width), np.float32)
    for row, place in enumerate(logprobs):
        named = [(names.id_of(text), value) for text, value in place]
        known = {token: value for token, value in named if token is not None}
        for column, (token, value) in enumerate(known.items()):
            ids[row, column], values[row, column] = token, min(value, 0.0)
    for row in range(len(logprobs), len(answer)):  # certain, as far as is known
        ids[row, 0] = answer[row]
    return example._replace(soft=(ids, values))
