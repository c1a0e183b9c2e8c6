"""Answers in the shapes that servers send: each passes as it is and is captured as what it says."""

import json

import pytest

from openwheel.wire import Answer, ToolCall

from .apis import PATHS, request_of

STREAM = "content-type: text/event-stream"
DAMAGE = Answer("damage")
PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "dam"},
    "age",
]
CALLED = Answer("", (ToolCall("route", '{"queue":"damage"}'),), "tool_calls")
CALL = {"id": "c", "type": "function"}
QUEUE = {"queue": "damage"}
USAGE = {"prompt_tokens": 5, "completion_tokens": 1}


def chat(reason="stop", **message):
    message = {"role": "assistant", "content": "damage", **message}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def calls(**function):
    return chat("tool_calls", content=None, tool_calls=[{**CALL, "function": function}])


def delta(reason=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def called(**function):
    return delta(tool_calls=[{**CALL, "index": 0, "function": function}])


def text(reason):
    return {"choices": [{"index": 0, "text": "damage", "finish_reason": reason}]}


def response(**fields):
    part = {"type": "output_text", "text": "damage", "annotations": []}
    item = {"type": "message", "role": "assistant", "content": [part]}
    return {"id": "r", "status": "completed", "output": [item], **fields}


def message(reason, **fields):
    content = [{"type": "text", "text": "damage"}]
    return {"role": "assistant", "content": content, "stop_reason": reason, **fields}


STOPPED = ["eos", "eos_token", "STOP", "stop_sequence", "end_turn", "FINISH_REASON_STOP", None]
WHOLE = [
    *(("chat", chat(reason), DAMAGE) for reason in STOPPED),
    *(("completions", text(reason), DAMAGE) for reason in STOPPED),
    *(("messages", message(reason), DAMAGE) for reason in STOPPED),
    *(("responses", response(status=status), DAMAGE) for status in ("COMPLETED", None)),
    ("chat", chat(content=PARTS), DAMAGE),
    ("chat", {**chat(), "error": None}, DAMAGE),
    ("chat", calls(name="route", arguments=QUEUE), CALLED),
    (
        "chat",
        calls(name="route", arguments=None),
        Answer("", (ToolCall("route", ""),), "tool_calls"),
    ),
    (
        "chat",
        chat("function_call", content=None, function_call={"name": "route", "arguments": QUEUE}),
        Answer("", CALLED.tool_calls, "function_call"),
    ),
    (
        "chat",
        chat(content=[{"type": "refusal", "refusal": "No."}]),
        Answer("No.", finish_reason="refusal"),
    ),
    (
        "responses",
        response(output=[{"type": "function_call", "name": "route", "arguments": QUEUE}]),
        CALLED,
    ),
    (
        "messages",
        message(
            "tool_use",
            content=[{"type": "tool_use", "name": "route", "input": '{"queue":"damage"}'}],
        ),
        CALLED,
    ),
]
SAID = [delta(role="assistant"), delta(content="dam"), delta(content="age")]
ENDED = [*SAID, delta("stop")]
PROSE = [
    {"choices": [{"text": "dam"}]},
    text("eos") | {"choices": [{"text": "age", "finish_reason": "eos"}]},
]
STREAMS = [
    ("chat", [*ENDED, {"id": "c", "model": "m", "usage": USAGE}], DAMAGE),
    ("chat", [*ENDED, {"choices": None, "usage": USAGE}], DAMAGE),
    ("chat", [{"choices": [], "prompt_filter_results": []}, *ENDED], DAMAGE),
    ("chat", [{"id": "c"}, *ENDED], DAMAGE),
    ("chat", [*SAID, delta("EOS_TOKEN")], DAMAGE),
    ("chat", [{"choices": [{"index": None, "delta": None}]}, *ENDED], DAMAGE),
    (
        "chat",
        [delta(role="assistant", content=PARTS[:1]), delta("stop", content=PARTS[1:])],
        DAMAGE,
    ),
    ("chat", [called(name="route", arguments=QUEUE), delta("tool_calls")], CALLED),
    (
        "chat",
        [
            called(name="route", arguments={}),
            called(arguments='{"queue":'),
            called(arguments='"damage"}'),
            delta("tool_calls"),
        ],
        CALLED,
    ),
    (
        "chat",
        [
            delta(
                "tool_calls",
                tool_calls=[{"function": {"name": name, "arguments": {}}} for name in "ab"],
            )
        ],
        Answer("", (ToolCall("a", "{}"), ToolCall("b", "{}")), "tool_calls"),
    ),
    ("completions", [*PROSE, {"usage": USAGE}], DAMAGE),
    ("completions", [{"choices": None}, *PROSE], DAMAGE),
    ("responses", [{"type": "response.completed", "response": response()}], DAMAGE),
    (
        "responses",
        [
            {"type": "response.output_item.done", "item": response()["output"][0]},
            {"type": "response.completed", "response": {"status": "completed"}},
        ],
        DAMAGE,
    ),
    (
        "responses",
        [
            {"type": "response.output_text.delta", "delta": "dam"},
            {"type": "response.output_text.delta", "delta": "age"},
            {"type": "response.completed", "response": response(output=[])},
        ],
        DAMAGE,
    ),
    (
        "messages",
        [
            {"type": "message_start", "message": {"model": "m"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {"type": "content_block_delta", "index": 0, "delta": {"text": "damage"}},
            {"type": "message_delta", "usage": {"output_tokens": 1}},
            {"type": "message_delta", "delta": {"stop_reason": "stop_sequence"}},
            {"type": "message_stop"},
        ],
        DAMAGE,
    ),
]


def ask(http, running, api, *, stream=False):
    body = request_of(api, "x", stream=stream)
    return http("POST", f"{running.url}{PATHS[api]}", body, {"content-type": "application/json"})


def in_events(events, *, line=b"\n", data=b"data: "):
    lines = [b": keep-alive", b"", b"event: x", b"id: 7", b""]
    for event in [*map(json.dumps, events), "[DONE]"]:
        lines += [data + event.encode(), b""]
    return line.join(lines) + line


@pytest.mark.parametrize(("api", "body", "answer"), WHOLE)
def test_a_whole_answer(gateway, http, upstream, api, body, answer):
    said = json.dumps(body, separators=(",", ":")).encode()
    upstream.answers(said)
    running = gateway()
    assert ask(http, running, api).data == said
    [exchange] = running.exchanges(1)
    assert exchange.answer == answer
    assert answer.complete == (answer.finish_reason != "refusal")


@pytest.mark.parametrize(("api", "events", "answer"), STREAMS)
def test_a_stream(gateway, http, upstream, api, events, answer):
    running = gateway()
    for number, lines in enumerate([{}, {"line": b"\r\n"}, {"data": b"data:"}, {"line": b"\r"}]):
        said = in_events(events, **lines)
        upstream.answers(said, head=STREAM)
        assert ask(http, running, api, stream=True).data == said
        assert running.exchanges(number + 1)[-1].answer == answer


FAILED = {"error": {"message": "CUDA out of memory", "code": 500}}


@pytest.mark.parametrize(
    ("api", "events"),
    [
        ("chat", [*SAID, FAILED]),
        ("chat", [*SAID, {**delta("error"), **FAILED}]),
        ("chat", [*SAID, delta(content=[{"type": "image_url"}]), delta("stop")]),
        ("chat", [*SAID, {"usage": USAGE}]),
        ("completions", [PROSE[0], FAILED]),
        ("responses", [{"type": "response.completed", "response": {"status": "in_progress"}}]),
    ],
)
def test_what_is_no_whole_answer_passes_and_is_not_captured(gateway, http, upstream, api, events):
    said = in_events(events)
    upstream.answers(said, head=STREAM)
    running = gateway()
    assert ask(http, running, api, stream=True).data == said
    assert not running.exchanges(0)
    assert json.loads(http("GET", f"{running.url}/healthz").data)["requests"]["uncaptured"] == 1
