"""What is asked of a small language model, and what it wrote: between students and engines."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from openwheel.wire import PromptMessage


class Constraint(msgspec.Struct, frozen=True):
    """What an answer may be; at most one is given, none is free text.

    Attributes:
        choices: The answer is one of these texts.
        json_schema: The answer is JSON of this JSON Schema, as text.
        regex: The answer matches this regular expression as a whole.
    """

    choices: tuple[str, ...] = ()
    json_schema: str = ""
    regex: str = ""


class Prompt(msgspec.Struct, frozen=True):
    """A conversation as its model's chat template writes it.

    Attributes:
        text: The text, special tokens included, without its first token where that is given.
        first: The token it begins with, so that no other is put before it; None where the model's
            tokenizer begins every text by itself.
        after: What ends the thought that comes before the answer, ``""`` where there is none.
        ends: What the model writes after the answer, which is not part of it.
    """

    text: str
    first: int | None = None
    after: str = ""
    ends: str = ""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to write, greedily unless a temperature is given.

    Attributes:
        model: Name under which the engine serves the model or adapter.
        messages: The conversation; vLLM and SGLang apply the model's own chat template.
        prompt: The same as text, which llama.cpp is given.
        constraint: What the answer may be.
        max_tokens: The most tokens to write.
        stop: Texts that end the answer and are not part of it.
        temperature: 0 takes the most likely token.
        thinking: Whether a reasoning model may think before it answers.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    prompt: Prompt | None = None
    constraint: Constraint = Constraint()
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    thinking: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """An answer with how sure the model was of it.

    Attributes:
        text: The answer, without what the model thought before it.
        reasoning: What it thought, ``""`` if it did not.
        finish: ``stop`` or ``length``.
        logprobs: Natural log-probability of each token of the answer (with its end-of-turn token
            where it stopped by itself) under the model before any constraint, shape (tokens,).
        margins: For each token, by how much its log-probability was above the best other token's
            (negative where a constraint forbade the best), shape (tokens,).
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens written, reasoning included.
    """

    text: str
    reasoning: str = ""
    finish: str
    logprobs: tuple[float, ...]
    margins: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int


class Writer(Protocol):
    """Writes answers: an engine in this process, or a client of one in another."""

    def write(self, asks: Sequence[Ask]) -> list[Written]:
        """Write an answer to each, in the order given.

        Raises:
            EngineError: The engine cannot be reached, or does not serve a model asked for.
        """
