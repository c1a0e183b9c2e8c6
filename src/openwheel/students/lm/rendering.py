"""From a conversation to a prompt's tokens, by the tokenizer's own chat template."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from openwheel.errors import RequestError
from openwheel.students.lm.reasoning import (
    reasoning_style,
    template_of,
    thinking_closed,
    thought_opened,
)
from openwheel.wire import PromptMessage


class Rendered(msgspec.Struct, frozen=True):
    """A prompt: its text, special tokens included, and its tokens."""

    text: str
    ids: list[int]


def prompt_ids(
    tokenizer: Any, messages: Sequence[PromptMessage], *, thinking: bool = False
) -> list[int]:
    """Return the tokens of a conversation up to where the answer begins.

    A student's frame is read off what this writes, so that what is trained on these tokens meets
    the same ones when it is served.

    Args:
        tokenizer: With its chat template.
        messages: The conversation.
        thinking: Whether a reasoning model may think first. If not, its thought is closed empty.

    Raises:
        RequestError: The template refuses the conversation.
    """
    turns = [{"role": message.role, "content": message.text} for message in messages]
    return render(tokenizer, turns, thinking=thinking).ids


def render(
    tokenizer: Any,
    turns: Sequence[Mapping[str, Any]],
    *,
    thinking: bool,
    formed: bool = False,
) -> Rendered:
    """Return a conversation as the chat template writes it, up to where the answer begins.

    A template that takes no system message gets its text at the head of the user's first. A
    tokenizer without a template gets the texts one below the other.

    Args:
        tokenizer: With its chat template.
        turns: Messages with their ``role`` and ``content``.
        thinking: Whether a reasoning model may think first.
        formed: Whether the answer is kept to a form, which a thought must come before.

    Raises:
        RequestError: The template refuses the conversation.
    """
    if not tokenizer.chat_template:
        text = "\n\n".join(str(turn.get("content") or "") for turn in turns) + "\n\n"
        return Rendered(text, list(tokenizer(text)["input_ids"]))
    # Templates name it differently and ignore what they do not know.
    text = _apply(tokenizer, turns, {"enable_thinking": thinking, "thinking": thinking})
    template = template_of(tokenizer)
    style = reasoning_style(template)
    if not thinking:
        text += thinking_closed(style, template, text)
    elif formed:
        text += thought_opened(style, template, text)
    return Rendered(text, list(tokenizer(text, add_special_tokens=False)["input_ids"]))


def turn_end(tokenizer: Any) -> int | None:
    """Return the token with which the chat template ends an answer, None if it is no single one."""
    template = template_of(tokenizer)
    # There the same token also ends what the model thinks.
    if not template or reasoning_style(template) == "harmony":
        return None
    from jinja2 import TemplateError  # noqa: PLC0415

    answer = "an answer"
    turns = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": answer}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except (TemplateError, ValueError, TypeError):
        return None
    after = text.rpartition(answer)[2].lstrip()
    ids = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    return int(ids[0]) if ids and int(ids[0]) in tokenizer.added_tokens_decoder else None


def _apply(
    tokenizer: Any,
    turns: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any],
) -> str:
    from jinja2 import TemplateError  # noqa: PLC0415

    def apply(these: Sequence[Mapping[str, Any]]) -> str:
        return str(
            tokenizer.apply_chat_template(
                [dict(turn) for turn in these],
                tokenize=False,
                add_generation_prompt=True,
                **variables,
            )
        )

    try:
        return apply(turns)
    except (TemplateError, ValueError, TypeError) as error:
        joined = _without_system(turns)
        if joined is not None:
            try:
                return apply(joined)
            except (TemplateError, ValueError, TypeError):
                pass
        raise RequestError(f"The model's chat template refuses the messages: {error}") from None


def _without_system(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    """Return the conversation with its system text in the user's first message."""
    if len(turns) < 2 or turns[0].get("role") not in {"system", "developer"}:
        return None
    first, second = turns[0], turns[1]
    if second.get("role") != "user":
        return None
    text = f"{first.get('content') or ''}\n\n{second.get('content') or ''}"
    return [{**second, "content": text}, *turns[2:]]
