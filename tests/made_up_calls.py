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


def _together(rng):
    """Return a request and the call or calls that it gets."""
    kind = rng.random()
    if kind < 0.5:
        return asked_for_call(rng)
    if kind < 0.7:
        cities, unit = [name_of(rng).title() for _ in range(2)], rng.choice(UNITS)
        said = rng.choice(("what is the weather in", "how warm is it in", "forecast for"))
        units = [unit, unit]
        text = f"{said} {cities[0]} and {cities[1]} in {unit}"
        if rng.random() < 0.4:
            units[1] = rng.choice(UNITS)
            text = f"{said} {cities[0]} in {unit} and {cities[1]} in {units[1]}"
        made = [
            call("get_weather", {"city": city, "unit": own})
            for city, own in zip(cities, units, strict=True)
        ]
    else:
        texts, made = zip(*(asked_for_call(rng) for _ in range(2)), strict=True)
        text = " and ".join(texts)
    return text, Answer("", tuple(one.tool_calls[0] for one in made), "tool_calls")


def several_calls(n, *, seed=0):
    """Return pairs of a request and its answer, of which half call a tool twice, or two tools."""
    rng = random.Random(seed)
    return [_together(rng) for _ in range(n)]


TRACKING = {
    "find_order": {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
    },
    "track": {
        "type": "object",
        "properties": {"carrier": {"type": "string"}, "number": {"type": "string"}},
        "required": ["carrier", "number"],
    },
}
CARRIERS = ("DHL", "UPS", "GLS", "Hermes")


def tracked(n, *, seed=0):
    """Return conversations about orders: what the user says, and each call with its result.

    An order is found, then tracked by what was found, then told of in a text. Of an order that was
    not sent the text comes at once.
    """
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        order = f"{rng.choice('ABCDEFGH')}-{rng.randint(1000, 9999)}"
        said = rng.choice(("where is my order", "track order", "when will i get", "status of"))
        number = f"{rng.randint(10**8, 10**9)}"
        sent = rng.random() < 0.85
        found = {"order": order, "status": "sent" if sent else "packed"}
        if sent:
            found |= {"carrier": rng.choice(CARRIERS), "tracking": number}
        steps = [(call("find_order", {"order": order}), json.dumps(found))]
        if sent:
            wanted = call("track", {"carrier": found["carrier"], "number": number})
            steps.append((wanted, json.dumps({"place": name_of(rng).title()})))
        made.append((f"{said} {order}?", steps))
    return made


def step_of(api, text, steps, **fields):
    """Return the body of a request after some steps, each a call and its result."""
    chat, items, blocks = [], [], []
    for i, (answer, result) in enumerate(steps):
        calls = list(enumerate(answer.tool_calls))
        chat.append(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": f"call_{i}{j}",
                        "type": "function",
                        "function": {"name": one.name, "arguments": one.arguments},
                    }
                    for j, one in calls
                ],
            }
        )
        chat += [
            {"role": "tool", "tool_call_id": f"call_{i}{j}", "content": result} for j, _ in calls
        ]
        items += [
            {
                "type": "function_call",
                "call_id": f"call_{i}{j}",
                "name": one.name,
                "arguments": one.arguments,
            }
            for j, one in calls
        ]
        items += [
            {"type": "function_call_output", "call_id": f"call_{i}{j}", "output": result}
            for j, _ in calls
        ]
        blocks += [
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": f"toolu_{i}{j}",
                        "name": one.name,
                        "input": json.loads(one.arguments),
                    }
                    for j, one in calls
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": f"toolu_{i}{j}", "content": result}
                    for j, _ in calls
                ],
            },
        ]
    user = {"role": "user", "content": text}
    said = {
        "chat": {"messages": [user, *chat]},
        "responses": {"input": [user, *items], "store": False},
        "messages": {"messages": [user, *blocks], "max_tokens": 99},
    }[api]
    return json.dumps({"model": "m", **said, **fields}).encode()
