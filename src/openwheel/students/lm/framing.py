"""A base's frame, read off its chat template, and tried on the prompts that are trained on."""

from collections.abc import Sequence
from typing import Any

from openwheel.errors import RequestError
from openwheel.inference.frame import Frame, Place
from openwheel.students.lm.reasoning import ReasoningStyle, reasoning_style, template_of
from openwheel.students.lm.rendering import prompt_ids, render
from openwheel.wire import PromptMessage

_SYSTEM, _USER, _PAD = "Qsystemq", "Quserq", "  "
_AFTER: dict[ReasoningStyle, str] = {
    "think": "</think>",
    "think_answer": "</think>\n<answer>",
    "mistral": "[/THINK]",
}


def frame_of(tokenizer: Any, *, thinking: bool = False) -> Frame | None:
    """Return what a chat template writes around messages; None where that is not one text.

    Args:
        tokenizer: With its chat template.
        thinking: Whether the model thinks before it answers.
    """
    style = reasoning_style(template_of(tokenizer))
    if thinking and style not in _AFTER:
        return None
    system_message = PromptMessage("system", _PAD + _SYSTEM + _PAD)
    user_message = PromptMessage("user", _PAD + _USER + _PAD)
    try:
        alone = _rendered(tokenizer, [user_message], thinking)
        both = _rendered(tokenizer, [system_message, user_message], thinking)
        first, begins = _first(tokenizer)
        if not (alone.startswith(begins) and both.startswith(begins)):
            return None
        user, tail = _place(alone.removeprefix(begins), _USER)
        system, rest = _place(both.removeprefix(begins), _SYSTEM)
        user_after, tail_after = _place(rest, _USER)
    except (RequestError, ValueError):
        return None
    backend = tokenizer.backend_tokenizer
    return Frame(
        user=user,
        system=system,
        user_after=user_after,
        tail=tail,
        tail_after=tail_after,
        first=first,
        composed=bool(backend.normalizer) and "NFC" in str(backend.normalizer),
        after=_AFTER[style] if thinking else "",
        ends="</answer>" if thinking and style == "think_answer" else "",
    )


def is_exact(
    frame: Frame, tokenizer: Any, asked: Sequence[tuple[PromptMessage, ...]], *, thinking: bool
) -> bool:
    """Return whether prompts by the frame are the tokens that are trained on."""
    special = not tokenizer.chat_template
    for messages in asked:
        try:
            prompt = frame.prompt(messages)
        except RequestError:
            return False
        ids = tokenizer(prompt.text, add_special_tokens=special)["input_ids"]
        if prompt.first is not None:
            ids = [prompt.first, *ids]
        if ids != prompt_ids(tokenizer, messages, thinking=thinking):
            return False
    return True


def _rendered(tokenizer: Any, messages: Sequence[PromptMessage], thinking: bool) -> str:
    turns = [{"role": message.role, "content": message.text} for message in messages]
    return render(tokenizer, turns, thinking=thinking, formed=thinking).text


def _first(tokenizer: Any) -> tuple[int | None, str]:
    """Return the token that prompts begin with, and its text; None where none is written."""
    if not tokenizer.chat_template:
        return None, ""
    ids = prompt_ids(tokenizer, [PromptMessage("user", _USER)])
    token = int(ids[0])
    return token, str(tokenizer.decode([token]))


def _place(text: str, sign: str) -> tuple[Place, str]:
    """Return the place of a message in a prompt, and what stands after it.

    Raises:
        ValueError: The message is not in it, or more than once.
    """
    before, found, after = text.partition(sign)
    if not found or sign in after:
        raise ValueError(sign)
    left, right = before.endswith(_PAD), after.startswith(_PAD)
    return (
        Place(before.removesuffix(_PAD), not left, not right),
        after.removeprefix(_PAD),
    )
