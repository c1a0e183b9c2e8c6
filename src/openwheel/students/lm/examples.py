"""Training examples: exchanges as tokens, of which the answer alone is learned."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import ModelError, RequestError
from openwheel.students.lm.reasoning import (
    ReasoningStyle,
    begins_inside,
    reasoning_style,
    template_of,
)
from openwheel.students.lm.rendering import prompt_ids, turn_end
from openwheel.wire import PromptMessage

TokenArray = npt.NDArray[np.int64]

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
        ModelError: The tokenizer has no token to end an answer with, its chat template refuses
            the messages, or the base has no form for the thoughts to be learned.
    """
    end = end_of_turn(tokenizer)
    try:
        return [_encode(tokenizer, record, end, context) for record in records]
    except RequestError as error:
        raise ModelError(str(error)) from None


def _encode(tokenizer: Any, record: Record, end: int, context: int) -> Example | None:
    prompt = prompt_ids(tokenizer, record.messages, thinking=bool(record.reasoning))
    text = record.answer
    if record.reasoning:
        style = reasoning_style(template_of(tokenizer))
        opened = begins_inside(style, tokenizer.decode(prompt))
        text = _with_thought(style, record.reasoning, record.answer, opened=opened)
    written = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = np.array([*prompt, *written, end], np.int64)
    if not prompt or len(ids) > context:
        return None
    return Example(ids, len(prompt))


def _with_thought(style: ReasoningStyle, thought: str, answer: str, *, opened: bool) -> str:
    """Return a thought and an answer as a model of this form writes them."""
    if style == "think":
        return f"{'' if opened else '<think>'}\n{thought}\n</think>\n\n{answer}"
    if style == "think_answer":
        opening = "" if opened else "<think>"
        return f"{opening}\n{thought}\n</think>\n<answer>\n{answer}\n</answer>"
    if style == "mistral":
        return f"{'' if opened else '[THINK]'}{thought}[/THINK]{answer}"
    if style == "harmony":
        final = "<|end|><|start|>assistant<|channel|>final<|message|>"
        return f"<|channel|>analysis<|message|>{thought}{final}{answer}"
    raise ModelError(
        "The base's chat template has no form for what a model thinks, so it cannot be learned: "
        'choose a reasoning base, or set [lm] reasoning = "drop"'
    )


def end_of_turn(tokenizer: Any) -> int:
    """Return the token that ends an answer.

    Raises:
        ModelError: Neither the chat template nor the tokenizer names one.
    """
    end = turn_end(tokenizer)
    if end is None:
        end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("The base's tokenizer must have a token that ends an answer, and has none")
    return int(end)
