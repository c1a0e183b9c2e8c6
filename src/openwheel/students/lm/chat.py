"""The tokens of a conversation, as the tokenizer's own chat template writes it."""

from collections.abc import Sequence
from typing import Any

from openwheel.wire import PromptMessage


def prompt_ids(
    tokenizer: Any, messages: Sequence[PromptMessage], *, thinking: bool = False
) -> list[int]:
    """Return the tokens of a conversation up to where an answer begins.

    A template that has no system role gets the system's text at the head of the user's. A
    tokenizer without a template gets the texts one below the other.
    """
    if not tokenizer.chat_template:
        text = "\n\n".join(message.text for message in messages) + "\n\n"
        return list(tokenizer(text)["input_ids"])
    from jinja2.exceptions import TemplateError  # noqa: PLC0415

    turns = [{"role": message.role, "content": message.text} for message in messages]
    try:
        text = _render(tokenizer, turns, thinking)
    except TemplateError:
        if turns[0]["role"] != "system" or len(turns) < 2:
            raise
        merged = {**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        text = _render(tokenizer, [merged, *turns[2:]], thinking)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _render(tokenizer: Any, turns: list[dict[str, str]], thinking: bool) -> str:
    return str(
        tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
    )
