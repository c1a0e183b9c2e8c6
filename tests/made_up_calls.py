"""Made-up requests and the calls of tools that a teacher answers them with."""

import json
import random

from made_up_records import MONTHS, name_of
from openwheel.wire import Answer, ToolCall

UNITS = ("celsius", "fahrenheit")
SCHEMAS = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": list(UNITS)},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
    "book_table": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": False,
    },
    "list_orders": {"type": "object", "properties": {}, "additionalProperties": False},
}


def tools_of(api, schemas=SCHEMAS):
    """Return tools as a request of an API offers them."""
    if api == "messages":
        return [{"name": name, "input_schema": schema} for name, schema in schemas.items()]
    functions = [{"name": name, "parameters": schema} for name, schema in schemas.items()]
    if api == "responses":
        return [{"type": "function", "strict": True, **function} for function in functions]
    return [{"type": "function", "function": function} for function in functions]


def call(name, arguments):
    """Return the answer that calls a tool, its arguments spelled as models do."""
    return Answer("", (ToolCall(name, json.dumps(arguments)),), "tool_calls")


def asked_for_call(rng):
    """Return a request and the call that it gets."""
    kind = rng.choice(list(SCHEMAS))
    if kind == "get_weather":
        city, unit = name_of(rng).title(), rng.choice(UNITS)
        said = rng.choice(("what is the weather in", "how warm is it in", "forecast for"))
        return f"{said} {city} in {unit}", call(kind, {"city": city, "unit": unit})
    if kind == "book_table":
        name, people = name_of(rng), rng.randint(2, 90)
        said = rng.choice(("book a table for", "reserve seats for", "we need a table for"))
        if rng.random() < 0.6:
            wanted = call(kind, {"name": name.title(), "people": people})
            return f"{said} {name}, {people} people", wanted
        return f"{said} {name}", call(kind, {"name": name.title()})
    said = rng.choice(("show my orders", "list what i ordered", "which orders did i send"))
    return f"{said} of {rng.choice(MONTHS)} {rng.randint(1, 28)}", call(kind, {})


def calls(n, *, seed=0, texts=0.0):
    """Return pairs of a request and its answer; a share of them are greetings that get a text."""
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        if rng.random() < texts:
            name = name_of(rng)
            hello = rng.choice(("hello there, i am", "thank you so much, says", "good bye from"))
            made.append((f"{hello} {name}", Answer(f"Nice to hear from you, {name.title()}!")))
        else:
            made.append(asked_for_call(rng))
    return made
