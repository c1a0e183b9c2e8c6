"""What a model thinks is told from what it answers, however the text was cut."""

import pytest

from openwheel.engine.reasoning import (
    Piece,
    begins_inside,
    reader_for,
    reasoning_style,
    thinking_closed,
    thought_opened,
)

QWEN = (
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{{ content.split('</think>')[-1] }}"
)
R1 = "{{ content.split('</think>')[-1] }}<|Assistant|><think>\n"
HUNYUAN = "{{ '<think>' }}{{ '</think>' }}<answer>"
MISTRAL = "[SYSTEM_PROMPT][THINK][/THINK]"
HARMONY = "<|start|>assistant<|channel|>final<|message|>"


def read(style, text, *, prompt="", size=1, tool_marks=None):
    reader = reader_for(style, prompt, tool_marks=tool_marks)
    pieces = []
    for at in range(0, len(text), size):
        pieces += reader.feed(text[at : at + size])
    pieces += reader.close()
    joined = {}
    for piece in pieces:
        joined[piece.kind] = joined.get(piece.kind, "") + piece.text
    return joined, pieces


@pytest.mark.parametrize(
    ("template", "style"),
    [
        (QWEN, "think"),
        (R1, "think"),
        (HUNYUAN, "think_answer"),
        (MISTRAL, "mistral"),
        (HARMONY, "harmony"),
        ("{{ messages }}", "none"),
        ("", "none"),
    ],
)
def test_the_form_is_the_one_that_the_template_declares(template, style):
    assert reasoning_style(template) == style


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("style", "text", "prompt", "expected"),
    [
        ("none", "a <b> answer", "", {"content": "a <b> answer"}),
        (
            "think",
            "<think>\nis it?\n</think>\n\nyes\n",
            "",
            {"reasoning": "is it?\n", "content": "yes\n"},
        ),
        (
            "think",
            "is it?\n</think>\n\nyes",
            "<think>\n",
            {"reasoning": "is it?\n", "content": "yes"},
        ),
        ("think", "<think>never ends", "", {"reasoning": "never ends"}),
        ("think", "no <thing> here", "", {"content": "no <thing> here"}),
        (
            "think_answer",
            "<think>\nis it?\n</think>\n<answer>\nyes\n</answer>",
            "",
            {"reasoning": "is it?\n", "content": "yes\n"},
        ),
        ("mistral", "[THINK]is it?[/THINK]yes", "", {"reasoning": "is it?", "content": "yes"}),
        (
            "harmony",
            "<|channel|>analysis<|message|>is it?<|end|>"
            "<|start|>assistant<|channel|>final<|message|>yes<|return|>",
            "<|start|>assistant",
            {"reasoning": "is it?", "content": "yes"},
        ),
        ("harmony", "yes", "<|start|>assistant<|channel|>final<|message|>", {"content": "yes"}),
        (
            "harmony",
            "<|channel|>commentary<|message|>I will look.<|end|>",
            "<|start|>assistant",
            {"content": "I will look."},
        ),
    ],
)
def test_thoughts_and_answers_are_told_apart(style, text, prompt, expected, size):
    assert read(style, text, prompt=prompt, size=size)[0] == expected


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_tool_calls_come_whole(size):
    text = (
        '<think>hm</think>\nI look.<tool_call>\n{"name":"a"}\n</tool_call>\n'
        "<tool_call>b</tool_call>"
    )
    joined, pieces = read("think", text, size=size, tool_marks=("<tool_call>", "</tool_call>"))
    assert [piece for piece in pieces if piece.kind == "tool"] == [
        Piece("tool", '{"name":"a"}'),
        Piece("tool", "b"),
    ]
    assert joined["content"] == "I look."


def test_calls_that_only_another_mark_ends_are_told_apart():
    text = '[TOOL_CALLS]a[ARGS]{"x":1}[TOOL_CALLS]b[ARGS]{}'
    _, pieces = read("none", text, tool_marks=("[TOOL_CALLS]", ""))
    assert [piece.text for piece in pieces] == ['a[ARGS]{"x":1}', "b[ARGS]{}"]


def test_a_channel_addressed_to_a_function_is_a_call_of_it():
    text = (
        "<|channel|>analysis<|message|>look it up<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.lookup <|constrain|>json<|message|>{"id":1}<|call|>'
    )
    _, pieces = read("harmony", text, prompt="<|start|>assistant", size=4)
    assert pieces[-1] == Piece("tool", '{"id":1}', "lookup")


@pytest.mark.parametrize(
    ("style", "template", "prompt", "added"),
    [
        ("think", QWEN, "assistant\n<think>\n\n</think>\n\n", ""),
        ("think", R1, "<|Assistant|><think>\n", "\n</think>\n\n"),
        ("think", "strips '</think>' and writes '<think>'", "x", "<think>\n\n</think>\n\n"),
        ("think", "only strips '</think>'", "x", ""),
        ("mistral", MISTRAL, "[/INST]", "[THINK]\n\n[/THINK]\n\n"),
        ("harmony", HARMONY, "<|start|>assistant", "<|channel|>final<|message|>"),
        ("none", "", "x", ""),
    ],
)
def test_a_prompt_can_say_that_there_is_no_thought(style, template, prompt, added):
    assert thinking_closed(style, template, prompt) == added


def test_a_thought_that_must_come_before_a_set_form_is_opened():
    assert thought_opened("think", QWEN, "assistant\n") == "<think>\n"
    assert thought_opened("think", R1, "<|Assistant|><think>\n") == ""
    assert begins_inside("think", "assistant\n<think>\n")
