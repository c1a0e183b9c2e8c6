"""Telling what a model thinks from what it answers, by the marks its chat template declares.

Four forms are known: ``<think>`` (Qwen, DeepSeek, GLM, MiniMax and many more), the same with the
answer in ``<answer>`` (Hunyuan), ``[THINK]`` (Mistral), and the channels of gpt-oss (harmony).
Which one a model has is read from its template, never from its name.
"""

from types import MappingProxyType
from typing import Any, Final, Literal

ReasoningStyle = Literal["none", "think", "think_answer", "mistral", "harmony"]

_THINK: Final = MappingProxyType(
    {
        "think": ("<think>", "</think>"),
        "think_answer": ("<think>", "</think>"),
        "mistral": ("[THINK]", "[/THINK]"),
    }
)
_HARMONY_TURN: Final = "<|start|>assistant"


def reasoning_style(template: str) -> ReasoningStyle:
    """Return the form in which a model thinks, by its chat template."""
    if "<|channel|>" in template and "<|message|>" in template:
        return "harmony"
    if "[THINK]" in template:
        return "mistral"
    if "</think>" in template or "<think>" in template:
        return "think_answer" if "<answer>" in template else "think"
    return "none"


def begins_inside(style: ReasoningStyle, prompt: str) -> bool:
    """Return whether a prompt ends within what the model thinks, as some templates have it."""
    return style in _THINK and prompt.rstrip().endswith(_THINK[style][0])


def thinking_closed(style: ReasoningStyle, template: str, prompt: str) -> str:
    """Return what to add to a prompt so that the model answers without thinking first.

    Templates that can be told not to think have done so already; for the others an empty
    thought is written, as those templates would.
    """
    if style == "harmony":
        return "<|channel|>final<|message|>" if prompt.endswith(_HARMONY_TURN) else ""
    if style not in _THINK:
        return ""
    opened, closed = _THINK[style]
    written = prompt.rstrip()
    answer = "<answer>\n" if style == "think_answer" else ""
    if written.endswith(opened):
        return f"\n{closed}\n\n{answer}"
    if written.endswith((closed, "<answer>")) or "enable_thinking" in template:
        return ""
    # Only for models that are told to open a thought by themselves; others merely drop old ones.
    return f"{opened}\n\n{closed}\n\n{answer}" if opened in template else ""


def thought_opened(style: ReasoningStyle, template: str, prompt: str) -> str:
    """Return what to add to a prompt so that the model thinks before it answers in a set form.

    Otherwise the form would apply from the first token on and forbid the thought.
    """
    if style not in _THINK or begins_inside(style, prompt):
        return ""
    opened = _THINK[style][0]
    return f"{opened}\n" if opened in template else ""


def template_of(tokenizer: Any) -> str:
    """Return the text of a tokenizer's chat template, ``""`` if it has none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several, of which this is the one used by default
        template = template.get("default", "")
    return template or ""
