"""Training examples: what was asked and answered as tokens, of which the answer alone is learned."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import ModelError
from openwheel.students.lm.chat import prompt_ids
from openwheel.wire import PromptMessage

TokenArray = npt.NDArray[np.int64]

_SENTINEL = "an answer to be found again"

TopLogprobs = tuple[tuple[str, float], ...]
"""The likeliest tokens at a place as text, the one that was written first, with the natural
logarithm of each one's probability."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange to learn from, as it is handed to the process that trains.

    Attributes:
        messages: What is asked.
        answer: What the teacher answered, as the student shall write it.
        reasoning: What it thought before, ``""`` where that is not to be learned.
        logprobs: For each of the teacher's tokens of the answer, what it might have written there.
        held_out: Whether it is for early stopping and not trained on.
    """

    messages: tuple[PromptMessage, ...]
    answer: str
    reasoning: str = ""
    logprobs: tuple[TopLogprobs, ...] = ()
    held_out: bool = False


class Example(NamedTuple):
    """An exchange as tokens.

    Attributes:
        ids: The prompt as the chat template writes it, the answer, the end-of-turn token.
        prompt: How many of them are the prompt: its generation prompt is the last of it, so that
            the first token learned is the first one a model writes when it is asked.
        soft: Where the teacher's probabilities are known: for each token learned the ids of the
            likeliest and their log-probabilities, shapes (learned, k) with -1 where there are
            fewer.
    """

    ids: TokenArray
    prompt: int
    soft: tuple[TokenArray, npt.NDArray[np.float32]] | None = None


def encode(tokenizer: Any, records: Sequence[Record], *, context: int) -> list[Example | None]:
    """Turn exchanges into tokens.

    Args:
        tokenizer: The base's tokenizer.
        records: The exchanges.
        context: The most tokens of one; a longer one is None, never cut: half an answer would
            teach the student to stop half-way.

    Raises:
        ModelError: The tokenizer has no token to end an answer with.
    """
    end = end_of_turn(tokenizer)
    return [_encode(tokenizer, record, end, context) for record in records]


def _encode(tokenizer: Any, record: Record, end: int, context: int) -> Example | None:
    prompt = prompt_ids(tokenizer, record.messages, thinking=bool(record.reasoning))
    answer = record.answer
    if record.reasoning:
        opened = tokenizer.decode(prompt[-8:]).rstrip().endswith("<think>")
        answer = f"{'' if opened else '<think>'}\n{record.reasoning}\n</think>\n\n{answer}"
    written = tokenizer(answer, add_special_tokens=False)["input_ids"]
    ids = np.array([*prompt, *written, end], np.int64)
    if len(ids) > context or not prompt:
        return None
    return Example(ids, len(prompt))


def end_of_turn(tokenizer: Any) -> int:
    """Return the token that ends an answer: what the chat template writes after one.

    Raises:
        ModelError: Neither the template nor the tokenizer names one.
    """
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": _SENTINEL}]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        after = tokenizer(text.rpartition(_SENTINEL)[2], add_special_tokens=False)["input_ids"]
        if after and after[0] in tokenizer.added_tokens_decoder:
            return int(after[0])
    if tokenizer.eos_token_id is None:
        raise ModelError("The base's tokenizer must have a token that ends an answer, and has none")
    return int(tokenizer.eos_token_id)
