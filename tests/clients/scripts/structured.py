"""What the helpers of the openai and anthropic SDKs parse: records, calls of tools, loops of calls.

The command line has a text that gets a record, one that gets several calls, and one that is
answered after two steps.
"""

import json
import sys
from typing import Any, Literal

import anthropic
import openai
from anthropic import Anthropic, beta_tool
from openai import OpenAI, pydantic_function_tool, pydantic_responses_function_tool
from pydantic import BaseModel

MODEL = "big"


class Customer(BaseModel):
    name: str


class Order(BaseModel):
    kind: Literal["order", "refund", "complaint"]
    customer: Customer
    count: int
    items: list[str]
    due: str | None
    source: str


class Weather(BaseModel):
    """Tell the weather."""

    city: str
    unit: Literal["celsius", "fahrenheit"]


class Table(BaseModel):
    """Book a table."""

    name: str
    people: int | None


class Orders(BaseModel):
    """List the orders of a customer."""


class Found(BaseModel):
    """Find an order."""

    order: str


class Tracked(BaseModel):
    """Track a parcel."""

    carrier: str
    number: str


TOOLS = {"get_weather": Weather, "book_table": Table, "list_orders": Orders}
STEPS = {"find_order": Found, "track": Tracked}
FOUND, PLACE = sys.argv[4:6]
# What the tools of the steps return.
RESULTS = {"find_order": FOUND, "track": PLACE}
sources: list[str] = []


def _note(response: Any) -> None:
    """Note who answered a request."""
    sources.append(response.headers.get("x-openwheel-source", ""))


HOOKS = {"response": [_note]}
client = OpenAI(max_retries=0, http_client=openai.DefaultHttpxClient(event_hooks=HOOKS))
claude = Anthropic(max_retries=0, http_client=anthropic.DefaultHttpxClient(event_hooks=HOOKS))


def _messages(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def _chat_tools(models: dict[str, type[BaseModel]]) -> list[Any]:
    return [pydantic_function_tool(model, name=name) for name, model in models.items()]


def _responses_tools(models: dict[str, type[BaseModel]]) -> list[Any]:
    return [pydantic_responses_function_tool(model, name=name) for name, model in models.items()]


def _claude_tools(models: dict[str, type[BaseModel]]) -> list[Any]:
    """Return tools with the same schemas as the others, since a task is of equal tools."""
    made = []
    for tool in _chat_tools(models):
        name = tool["function"]["name"]

        def run(_name: str = name, **_: Any) -> str:
            return RESULTS.get(_name, "done")

        made.append(
            beta_tool(
                run,
                name=name,
                description=tool["function"]["description"],
                input_schema=tool["function"]["parameters"],
            )
        )
    return made


def records(text: str) -> dict[str, Any]:
    chat = {"model": MODEL, "messages": _messages(text), "response_format": Order}
    whole = client.chat.completions.parse(**chat).choices[0].message.parsed
    with client.chat.completions.stream(**chat) as stream:
        streamed = stream.get_final_completion().choices[0].message.parsed
    asked = {"model": MODEL, "input": text, "store": False, "text_format": Order}
    response = client.responses.parse(**asked).output_parsed
    with client.responses.stream(**asked) as stream:
        response_streamed = stream.get_final_response().output_parsed
    said = {"model": MODEL, "max_tokens": 500, "messages": _messages(text), "output_format": Order}
    message = claude.messages.parse(**said).parsed_output
    with claude.messages.stream(**said) as stream:
        message_streamed = stream.get_final_message().parsed_output
    return {
        "chat.completions.parse": whole.model_dump(),
        "chat.completions.stream": streamed.model_dump(),
        "responses.parse": response.model_dump(),
        "responses.stream": response_streamed.model_dump(),
        "messages.parse": message.model_dump(),
        "messages.stream": message_streamed.model_dump(),
    }


def calls(text: str) -> dict[str, Any]:
    chat = {"model": MODEL, "messages": _messages(text), "tools": _chat_tools(TOOLS)}
    whole = client.chat.completions.parse(**chat).choices[0].message
    with client.chat.completions.stream(**chat) as stream:
        done = [e.name for e in stream if e.type == "tool_calls.function.arguments.done"]
        streamed = stream.get_final_completion().choices[0].message
    asked = {"model": MODEL, "input": text, "store": False, "tools": _responses_tools(TOOLS)}
    response = client.responses.parse(**asked)
    with client.responses.stream(**asked) as stream:
        response_streamed = stream.get_final_response()
    said = {
        "model": MODEL,
        "max_tokens": 500,
        "messages": _messages(text),
        "tools": [tool.to_dict() for tool in _claude_tools(TOOLS)],
    }
    message = claude.messages.create(**said)
    with claude.messages.stream(**said) as stream:
        message_streamed = stream.get_final_message()

    def of_chat(found: Any) -> list[Any]:
        functions = [call.function for call in found.tool_calls]
        return [[one.name, one.parsed_arguments.model_dump()] for one in functions]

    def of_response(found: Any) -> list[Any]:
        return [[item.name, item.parsed_arguments.model_dump()] for item in found.output]

    def of_message(found: Any) -> list[Any]:
        return [[block.name, block.input] for block in found.content]

    return {
        "chat.completions.parse": of_chat(whole),
        "chat.completions.stream": of_chat(streamed),
        "done": done,
        "responses.parse": of_response(response),
        "responses.stream": of_response(response_streamed),
        "messages.create": of_message(message),
        "messages.stream": of_message(message_streamed),
    }


def chat_loop(text: str) -> dict[str, Any]:
    messages, made = _messages(text), []
    while True:
        found = client.chat.completions.parse(
            model=MODEL, messages=messages, tools=_chat_tools(STEPS)
        )
        message = found.choices[0].message
        if not message.tool_calls:
            return {"calls": made, "text": message.content}
        messages.append(message)
        for call in message.tool_calls:
            made.append([call.function.name, call.function.parsed_arguments.model_dump()])
            result = RESULTS[call.function.name]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def responses_loop(text: str) -> dict[str, Any]:
    items, made = _messages(text), []
    while True:
        with client.responses.stream(
            model=MODEL, input=items, store=False, tools=_responses_tools(STEPS)
        ) as stream:
            found = stream.get_final_response()
        calls = [item for item in found.output if item.type == "function_call"]
        if not calls:
            return {"calls": made, "text": found.output_text}
        items += found.output
        for call in calls:
            made.append([call.name, call.parsed_arguments.model_dump()])
            output = {"type": "function_call_output", "call_id": call.call_id}
            items.append({**output, "output": RESULTS[call.name]})


def tool_runner(text: str) -> dict[str, Any]:
    seen = {}
    for name, streamed in (("whole", False), ("streamed", True)):
        runner = claude.beta.messages.tool_runner(
            model=MODEL,
            max_tokens=500,
            messages=_messages(text),
            tools=_claude_tools(STEPS),
            stream=streamed,
            thread=False,  # else the server is asked to keep the conversation
        )
        made, said = [], ""
        for step in runner:
            message = step.get_final_message() if streamed else step
            made += [[b.name, b.input] for b in message.content if b.type == "tool_use"]
            said = "".join(b.text for b in message.content if b.type == "text")
        seen[name] = {"calls": made, "text": said}
    return seen


def main() -> None:
    record, several, steps = sys.argv[1:4]
    seen = {}
    for case, text in (
        (records, record),
        (calls, several),
        (chat_loop, steps),
        (responses_loop, steps),
        (tool_runner, steps),
    ):
        sources.clear()
        found = case(text)
        seen[case.__name__] = {"found": found, "sources": list(sources)}
    json.dump(seen, sys.stdout)


main()
