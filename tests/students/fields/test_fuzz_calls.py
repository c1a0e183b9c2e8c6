"""Calls and tools of any shape are learned or refused, and nothing else happens."""

import json
import random

import pytest

from openwheel.students.fields.fit import fit_fields
from openwheel.students.fields.schema import satisfies
from openwheel.students.rung import Lesson
from openwheel.students.tools import offered
from openwheel.tasks import answer_in, canonical_answer, written_answer
from openwheel.wire import APIS, Answer, ToolCall

from .test_fuzz import WORDS, value

FORM = "tool_call"
NAMES = ("f", "f.g", "two words", "a\nb", "", "ünï", '"', "each ", "name", "arguments", "x" * 300)
BROKEN = ("{", "[]", "null", '"x"', "", "{}", '{"a": NaN}', '{"a": 1e999}', '{"a":' * 50, "\ud800")


def answers(seed):
    """Return inputs and answers that call tools in odd ways."""
    draw = random.Random(seed)
    tools = {name: draw.randrange(10**9) for name in draw.sample(NAMES, draw.randint(1, 4))}
    for _ in range(draw.choice((5, 25, 60))):
        words = [draw.choice(WORDS) for _ in range(draw.randint(1, 8))]
        made = []
        for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 17))):
            name = draw.choice(list(tools))
            own = draw if draw.random() < 0.6 else random.Random(tools[name])
            given = {key: value(own, words) for key in "abc" if draw.random() < 0.8}
            arguments = json.dumps(given) if draw.random() < 0.95 else draw.choice(BROKEN)
            made.append(ToolCall(name, arguments))
        finish = "tool_calls" if made else "stop"
        yield " ".join(words), Answer("" if made else "hello", tuple(made), finish)


@pytest.mark.parametrize(
    "seeds",
    [range(3), pytest.param(range(3, 300), marks=pytest.mark.evidence)],
    ids=["few", "many"],
)
def test_calls_of_any_shape(seeds):
    learned = 0
    for seed in seeds:
        rows = list(answers(seed))
        canonical = [canonical_answer(answer, FORM) for _, answer in rows]
        surfaces = {
            said: written_answer(answer, FORM)
            for said, (_, answer) in zip(canonical, rows, strict=True)
        }
        for said, text in surfaces.items():
            again = answer_in(text, FORM)
            assert not again.tool_calls or canonical_answer(again, FORM) == said
        lesson = Lesson(
            inputs=[(text,) for text, _ in rows],
            answers=canonical,
            variables=(0,),
            form=FORM,
            surfaces=surfaces,
        )
        try:
            fitted = fit_fields(lesson)
        except ValueError:  # nothing to learn, or a field that cannot be
            continue
        learned += 1
        texts, confidence = fitted.student.answer([(text,) for text, _ in rows])
        for text, sure in zip(texts, confidence, strict=True):
            assert not text or answer_in(text, FORM).tool_calls
            assert 0 <= sure <= 1
            assert text or sure == 0
    assert learned > len(seeds) / 4


SCHEMAS = (
    {},
    {"type": "object", "properties": 7},
    {"type": "object", "properties": {"a": 7}},
    {"type": 3},
    {"type": ["object", 7]},
    {"enum": 7},
    {"type": "object", "required": 7},
    {"$ref": 7},
    {"$ref": "#"},
    {"anyOf": [{"$ref": "#"}]},
    {"anyOf": 7},
    {"anyOf": [{"$ref": "#"}] * 2},
    {"properties": {"a": {"pattern": "(a+)+$"}}},
    {"properties": {"a": {"pattern": "("}}},
    {"properties": {"a": {"minimum": "x"}}},
    {"properties": {"a": {"multipleOf": 0}}},
    {"items": [7], "minProperties": "x"},
    True,
    7,
    "x",
    [{}],
    {"properties": {f"a{i}": {"enum": list(range(50))} for i in range(2_000)}},
)


def tools_of(schema, name="f"):
    return {
        "chat": [{"type": "function", "function": {"name": name, "parameters": schema}}],
        "responses": [{"type": "function", "name": name, "parameters": schema}],
        "messages": [{"name": name, "input_schema": schema}],
    }


def test_patterns_are_tried_unless_they_may_take_for_ever():
    def takes(pattern, text):
        return satisfies(text, {"type": "string", "pattern": pattern})

    assert takes("^[A-Z]{2}-\\d+$", "AB-12")
    assert takes("^(a|b)-x?$", "b-")
    assert not takes("^[A-Z]{2}-\\d+$", "ab-12")
    for pattern in ("(a+)+$", "(a|aa)*$", "(a*)*b", "(x+x+)+y", "(a?){30}a", "(a)\\1"):
        assert not takes(pattern, "a" * 40)


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_schemas_of_any_shape(number):
    schema = SCHEMAS[number]
    said = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9, "input": "x"}
    for api, tools in tools_of(schema).items():
        body = json.dumps({"model": "m", **said, "tools": tools}).encode()
        found = offered(APIS[api].read_request(body).prompt.tools)
        found.unknown_keywords()
        for arguments in ('{"a": 1}', '{"a": "x"}', '{"a": [{}]}', "{}", "{"):
            assert found.take(ToolCall("f", arguments)) in (True, False)
        assert not found.take(ToolCall("g", "{}"))


@pytest.mark.parametrize(
    "tools",
    [
        [7],
        [None],
        ["f"],
        [{}],
        [{"type": "function"}],
        [{"type": "function", "function": 7}],
        [{"type": "function", "function": {"name": 7}}],
        [{"type": "function", "function": {"name": "f", "description": 7}}],
        [{"type": "function", "function": {"name": "f"}}] * 2,
        [{"type": "function", "function": {"name": f"f{i}"}} for i in range(5_000)],
        [{"type": "function", "function": {"name": "f" * 100_000}}],
    ],
    ids=lambda tools: str(tools)[:30],
)
@pytest.mark.parametrize("choice", [None, "none", 7, [], {"type": 7}, {"function": 7}])
def test_tools_and_choices_of_any_shape(tools, choice):
    body = {"messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice}
    found = offered(APIS["chat"].read_request(json.dumps(body).encode()).prompt.tools)
    assert not found.take(ToolCall("g", "{}"))
    if choice is not None:
        assert not found.schemas
