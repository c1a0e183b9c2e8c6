"""Captured answers as tokens, as the target reads and writes them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.engine.prompts import render, turn_end
from openwheel.errors import ModelError, RequestError
from openwheel.wire import PromptMessage


class Captured(msgspec.Struct, frozen=True):
    """One exchange to learn from.

    Attributes:
        messages: What was asked, whole: a draft must read what the target reads.
        answer: What the target answered, byte for byte.
    """

    messages: tuple[PromptMessage, ...]
    answer: str


class Example(NamedTuple):
    """An exchange as tokens.

    Attributes:
        ids: The prompt as the chat template writes it, the answer, the token that ends it.
        prompt: How many of them are the prompt.
    """

    ids: npt.NDArray[np.int64]
    prompt: int

    @property
    def answer(self) -> npt.NDArray[np.int64]:
        """The tokens that the target wrote."""
        return self.ids[self.prompt :]


def encode_captured(tokenizer: Any, captured: Sequence[Captured], *, context: int) -> list[Example]:
    """Turn exchanges into tokens, leaving out those longer than ``context``.

    Args:
        tokenizer: The target's, with its chat template.
        captured: The exchanges.
        context: The most tokens of one.

    Raises:
        ModelError: The chat template refuses the messages, or nothing ends an answer.
    """
    end = turn_end(tokenizer)
    if end is None:
        end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("The target's tokenizer must have a token that ends an answer, has none")
    examples = []
    for exchange in captured:
        turns = [{"role": message.role, "content": message.text} for message in exchange.messages]
        try:
            prompt = render(tokenizer, turns).ids
        except RequestError as error:
            raise ModelError(str(error)) from None
        answer = tokenizer(exchange.answer, add_special_tokens=False)["input_ids"]
        ids = np.array([*prompt, *answer, end], np.int64)
        if prompt and len(ids) <= context:
            examples.append(Example(ids, len(prompt)))
    return examples
