"""Each tool's log is read as the request and the answer that went over the wire."""

import csv
import json

import pytest

from log_shapes import (
    ANSWER,
    ANTHROPIC,
    CHAT,
    COMPLETION,
    ISO,
    MESSAGE,
    MESSAGES,
    MODEL,
    SAID,
    SHAPES,
    SYSTEM,
    TIME,
    USER,
    otlp,
)
from openwheel.importing import LogProblems, read_log
from openwheel.importing.formats import FORMATS
from openwheel.wire import APIS, Answer, ToolCall


def read(tmp_path, *records, **options):
    """Return the exchanges of a log, and what was counted."""
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    problems = LogProblems()
    return list(read_log(path, problems=problems, **options)), problems


def why(problems):
    return [*problems.skipped, *(bad.reason for bad in problems.first_bad)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_tools_record_is_the_request_on_the_wire(tmp_path, shape):
    """So a student that learned from the log answers the same request when it comes."""
    (exchange,), problems = read(tmp_path, shape.record, strict=True)
    assert problems.formats == {shape.name: 1}
    assert exchange.answer == Answer(ANSWER)
    assert exchange.time == (TIME if shape.timed else 0.0)
    assert problems.times_missing == (not shape.timed)
    if shape.wire is not None:
        sent = APIS[exchange.api].read_request(json.dumps(shape.wire).encode())
        received = exchange.read()
        assert received.prompt == sent.prompt
        assert received.settings == sent.settings
        assert received.model == sent.model


def test_every_format_has_a_shape():
    shown = {shape.name for shape in SHAPES}
    generic = {"requests and responses", "OpenTelemetry spans"}
    assert {form.name for form in FORMATS} - generic - {
        "Azure",
        "PromptLayer",
        "Cloudflare AI Gateway",
    } <= shown


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_tools_record_as_a_row_of_a_table(tmp_path, shape):
    """A table has objects as JSON text, or as Python prints them."""

    def written(value, printed):
        if isinstance(value, dict | list):
            return printed(value)
        return "" if value is None else value

    for printed in (json.dumps, str):
        path = tmp_path / "log.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(shape.record)
            writer.writerow([written(value, printed) for value in shape.record.values()])
        problems = LogProblems()
        found = list(read_log(path, problems=problems))
        # One column that is an object says too little of itself.
        assert found or len(shape.record) == 1, why(problems)
        assert all(exchange.answer == Answer(ANSWER) for exchange in found)


@pytest.mark.parametrize(
    "value",
    [
        COMPLETION,
        json.dumps(COMPLETION),
        str(COMPLETION),
        {"status_code": 200, "body": COMPLETION},
        {"response": COMPLETION, "status": "ok", "usage": {}},
        COMPLETION["choices"],
        SAID,
        [SAID],
        json.dumps([SAID]),
        MESSAGE,
        MESSAGE["content"],
        [MESSAGE],
        {"message": SAID, "done": True},
        {"message": {"content": [{"type": "text", "text": ANSWER}]}, "finish_reason": "COMPLETE"},
        {"text": ANSWER},
        {"text": ANSWER, "finish_reason": "stop", "usage": {"total_tokens": 3}},
        {"text": ANSWER, "generation_id": "x", "chat_history": [1], "finish_reason": "COMPLETE"},
        {"content": ANSWER, "model": "m"},
        [{"generated_text": ANSWER}],
        [{"generated_text": [*MESSAGES, SAID]}],
        {"output_text": ANSWER, "id": "r"},
        {"outputText": ANSWER},
        {"results": [{"outputText": ANSWER, "completionReason": "FINISH"}]},
        {"outputs": [{"text": ANSWER, "stop_reason": "stop"}]},
        {"generation": ANSWER, "stop_reason": "stop", "prompt_token_count": 3},
        {"completion": ANSWER, "stop_reason": "stop_sequence"},
        {"generations": [[{"text": ANSWER}]]},
        {"generations": [{"text": ANSWER, "finish_reason": "COMPLETE"}]},
        {"raw": ANSWER, "parsed": None},
        {"role": "model", "parts": [{"text": ANSWER}]},
        {"type": "ai", "content": ANSWER, "response_metadata": {"finish_reason": "stop"}},
        {"type": "text", "text": ANSWER},
        [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ANSWER}],
        [
            {"type": "reasoning"},
            {"type": "message", "content": [{"type": "output_text", "text": ANSWER}]},
        ],
        {"output": {"message": {"role": "assistant", "content": [{"text": ANSWER}]}}},
        '{"message":{"content":"pu"},"done":false}\n{"message":{"content":"mps"},"done":true}',
    ],
)
@pytest.mark.parametrize("place", ["response", "output"])
def test_an_answer_is_opened_out_of_what_wraps_it(tmp_path, value, place):
    record = (
        {"request": CHAT, place: value} if place == "response" else {"input": USER, "output": value}
    )
    (exchange,), _ = read(tmp_path, record, strict=True)
    assert exchange.answer == Answer(ANSWER)


@pytest.mark.parametrize(
    "value",
    [
        {"queue": ANSWER},
        {"queue": ANSWER, "text": "Pump 3"},
        {"error": "E42", "machine": "pump 3"},
        {"type": "complaint", "text": "the pump leaks"},
        {"message": "leaks", "status": "open"},
        [ANSWER],
        [{"queue": ANSWER}],
        [{"text": "Pump", "start": 0}, {"text": "seal", "start": 18}],
        {},
    ],
)
def test_json_that_was_asked_for_stays_json(tmp_path, value):
    """A record's fields may have the names of an envelope's."""
    (exchange,), _ = read(tmp_path, {"text": USER, "label": value}, strict=True)
    assert json.loads(exchange.answer.text) == value
    reply = {**SAID, "content": json.dumps(value)}
    (exchange,), _ = read(tmp_path, {"messages": [*MESSAGES, reply]}, strict=True)
    assert exchange.answer.text == json.dumps(value)


def test_json_text_that_was_asked_for_stays_as_it_is(tmp_path):
    text = '{"text": "pumps"}'
    (exchange,), _ = read(tmp_path, {"text": USER, "label": text}, strict=True)
    assert exchange.answer.text == text


@pytest.mark.parametrize(
    "value",
    [
        {"finish_reason": "stop", "said": {"words": [ANSWER]}},
        {"choices": [{"index": 0, "words": ANSWER}]},
        {"candidates": [3]},
        "ChatCompletion(id='1', choices=[Choice(finish_reason='stop')])",
        "content='pumps' additional_kwargs={} response_metadata={}",
        "AIMessage(content='pumps')",
        [MESSAGES[1], SAID, MESSAGES[1], SAID],
        {"role": "user", "content": USER},
        'data: {"choices": [{"delta": {"content": "pum"}, "finish_reason": null}]}\n\n',
        [{"choices": [{"index": 0, "delta": {"content": "pum"}, "finish_reason": None}]}],
        "data: {oops\n\ndata: {}\n\n",
        [{"type": "message_start", "message": {"role": "assistant", "content": []}}],
    ],
)
@pytest.mark.parametrize("key", ["response", "output", "label"])
def test_an_envelope_that_is_not_known_is_bad(tmp_path, value, key):
    record = (
        {"request": CHAT, "response": value} if key == "response" else {"text": USER, key: value}
    )
    found, problems = read(tmp_path, record)
    assert found == []
    assert problems.bad == 1


def test_answers_that_look_like_envelopes_are_counted(tmp_path):
    rows = [{"text": f"{i} {USER}", "label": {"answer": ANSWER, "score": i}} for i in range(3)]
    _, problems = read(tmp_path, *rows, {"text": "a", "label": {"queue": "x"}})
    assert problems.wrapped == 3
    assert problems.wrapped_example == '{"answer":"pumps","score":0}'


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"type": "SPAN", "input": {"ticket": USER}, "output": ANSWER}, "(span)"),
        ({"type": "EMBEDDING", "input": USER, "output": "ok"}, "(embedding)"),
        ({"type": "GENERATION", "input": MESSAGES, "output": ANSWER, "level": "ERROR"}, "failed"),
        ({"run_type": "chain", "inputs": {"q": USER}, "outputs": {"a": ANSWER}}, "(chain)"),
        ({"run_type": "llm", "inputs": CHAT, "outputs": None, "error": "timeout"}, "an error"),
        ({"span_attributes": {"type": "task"}, "input": USER, "output": ANSWER}, "(task)"),
        ({"call_type": "aembedding", "messages": [], "response": {"data": []}}, "embedding"),
        (
            {"call_type": "acompletion", "status": "failure", "messages": MESSAGES, "response": {}},
            "the call failed",
        ),
        ({"request_body": CHAT, "response_body": {"x": 1}, "response_status": 500}, "failed"),
        ({"attributes": {"openinference.span.kind": "CHAIN", "input.value": "a"}}, "(chain)"),
        ({"attributes": {"gen_ai.operation.name": "execute_tool"}}, "(execute_tool)"),
        ({"name": "ai.generateText", "attributes": {"ai.prompt": "{}"}}, "(ai sdk)"),
        ({"attributes": {"gen_ai.operation.name": "chat"}, "status": {"code": 2}}, "failed"),
        ({"meta": {"kind": "workflow", "input": {"value": USER}}}, "(workflow)"),
        ({"prompt": USER, "completion": ANSWER, "label": False}, "not desired"),
        (
            {"schemaType": "ModelInvocationLog", "input": {"inputBodyJson": {}}, "errorCode": "X"},
            "failed",
        ),
        ({"custom_id": "1", "params": ANTHROPIC, "result": {"type": "errored"}}, "failed"),
        (
            {
                "request": {"input": USER, "model": "m"},
                "response": {"object": "list", "data": [{"embedding": [0.1]}]},
            },
            "embedding",
        ),
        ({"messages": [*MESSAGES, {**SAID, "weight": 0}]}, "weight 0"),
    ],
)
def test_what_is_no_answer_of_a_model_is_skipped_and_named(tmp_path, record, reason):
    found, problems = read(tmp_path, record)
    assert found == []
    assert problems.bad == 0
    assert reason in why(problems)[0]


@pytest.mark.parametrize("value", ["False", "None", "null", "nan", "", "N/A", "[]", "{}", "0", " "])
def test_a_column_that_says_there_was_no_error(tmp_path, value):
    path = tmp_path / "log.csv"
    path.write_text(f"text,label,error\n{USER},{ANSWER},{value}\n{USER},{ANSWER},timeout\n")
    problems = LogProblems()
    assert len(list(read_log(path, problems=problems))) == 1
    assert problems.skipped == {"the answer is an error": 1}


@pytest.mark.parametrize("role", ["Assistant", "ai", "AI", "gpt", "model", "bot", "ASSISTANT"])
def test_who_speaks_is_known_by_many_names(tmp_path, role):
    (exchange,), _ = read(tmp_path, {"messages": [*MESSAGES, {"role": role, "content": ANSWER}]})
    assert exchange.answer == Answer(ANSWER)
    (exchange,), _ = read(
        tmp_path,
        {"conversation": [{"from": "Human", "value": USER}, {"from": role, "value": ANSWER}]},
    )
    assert exchange.answer == Answer(ANSWER)


def test_tool_calls_of_every_kind(tmp_path):
    expected = Answer("", (ToolCall("route", '{"queue":"pumps"}'),), "tool_calls")
    arguments = {"queue": "pumps"}
    text = json.dumps(arguments, separators=(",", ":"))
    gemini = {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"name": "route", "args": arguments}}]},
                "finishReason": "STOP",
            }
        ]
    }
    anthropic = {
        **MESSAGE,
        "stop_reason": "tool_use",
        "content": [{"type": "tool_use", "id": "t", "name": "route", "input": arguments}],
    }
    converse = {
        "output": {
            "message": {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "t", "name": "route", "input": arguments}}],
            }
        }
    }
    ollama = {
        "message": {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "route", "arguments": arguments}}],
        },
        "done": True,
    }
    langchain = {
        "type": "ai",
        "content": "",
        "tool_calls": [{"name": "route", "args": arguments, "id": "t", "type": "tool_call"}],
    }
    vercel = {
        "role": "assistant",
        "content": [
            {"type": "tool-call", "toolCallId": "t", "toolName": "route", "input": arguments}
        ],
    }
    otel = [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "t", "name": "route", "arguments": text}],
        }
    ]
    responses = {
        "object": "response",
        "output": [{"type": "function_call", "name": "route", "arguments": text}],
    }
    for value in (gemini, anthropic, converse, ollama, langchain, vercel, otel, responses):
        (exchange,), _ = read(tmp_path, {"request": CHAT, "response": value}, strict=True)
        assert exchange.answer.tool_calls == expected.tool_calls, value
        assert exchange.answer.complete


def test_a_batch_is_its_input_and_its_output(tmp_path):
    asked = [
        {
            "custom_id": str(i),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {**CHAT, "messages": [MESSAGES[0], {"role": "user", "content": f"{USER} {i}"}]},
        }
        for i in range(4)
    ]
    answered = [
        {
            "id": f"b{i}",
            "custom_id": str(i),
            "error": None,
            "response": {"status_code": 200, "body": {**COMPLETION, "created": int(TIME) + i}},
        }
        for i in (3, 1, 0)
    ]
    answered.append({"custom_id": "9", "response": {"status_code": 200, "body": COMPLETION}})
    for name, rows in (("in", asked), ("out", answered)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for order in (["in", "out"], ["out", "in"]):
        problems = LogProblems()
        found = list(read_log(*(tmp_path / name for name in order), problems=problems))
        texts = [exchange.prompt().messages[-1].text for exchange in found]
        assert texts == [f"{USER} {i}" for i in (0, 1, 3)]
        assert problems.skipped == {
            "the input of a batch without its output": 1,
            "the output of a batch without its input": 1,
        }


def test_the_spans_of_a_trace_are_records(tmp_path):
    trace = otlp({"gen_ai.operation.name": "chat"})
    llm = {
        "name": "chat",
        "startTimeUnixNano": str(int(TIME)) + "000000000",
        "attributes": [
            {"key": "gen_ai.prompt.0.content", "value": {"stringValue": USER}},
            {"key": "gen_ai.completion.0.content", "value": {"stringValue": ANSWER}},
        ],
    }
    trace["resourceSpans"][0]["scopeSpans"][0]["spans"] += [llm, {"name": "http", "attributes": []}]
    (exchange,), problems = read(tmp_path, trace)
    assert exchange.answer == Answer(ANSWER)
    assert problems.lines == 3
    run = {
        "run_type": "chain",
        "inputs": {},
        "outputs": {},
        "child_runs": [
            {
                "run_type": "llm",
                "start_time": ISO,
                "inputs": {"messages": MESSAGES},
                "outputs": SAID,
            }
        ],
    }
    (exchange,), problems = read(tmp_path, run)
    assert exchange.prompt().messages[0].text == SYSTEM
    assert problems.skipped == {"a span of the application (chain)": 1}


@pytest.mark.parametrize(
    "record",
    [
        {"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}},
        {"0": {"text": "a", "label": "x"}, "1": {"text": "b", "label": "y"}},
        {"text": ["a", "b"], "label": ["x", "y"]},
        {"columns": ["text", "label"], "index": [0, 1], "data": [["a", "x"], ["b", "y"]]},
        {"data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "has_more": False},
        {
            "schema": {"fields": []},
            "data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}],
        },
    ],
)
def test_tables_and_lists_in_an_object(tmp_path, record):
    for text in (json.dumps(record), json.dumps(record, indent=2)):
        path = tmp_path / "log.json"
        path.write_text(text)
        found = list(read_log(path, problems=LogProblems(), strict=True))
        assert [exchange.answer.text for exchange in found] == ["x", "y"]
        assert len({exchange.id for exchange in found}) == 2


def test_the_model_and_its_settings_beside_the_messages_count(tmp_path):
    """Else a student would answer requests for other models."""
    for record in (
        {"messages": MESSAGES, "model": MODEL, "response": ANSWER},
        {"messages": [*MESSAGES, SAID], "model": MODEL},
        {"input": MESSAGES, "model": MODEL, "output": ANSWER},
        {"text": USER, "label": ANSWER, "model": MODEL},
    ):
        (exchange,), _ = read(tmp_path, record)
        assert exchange.read().settings == {"model": f'"{MODEL}"'}
    (exchange,), _ = read(
        tmp_path,
        {
            "messages": MESSAGES,
            "model": MODEL,
            "temperature": 0.5,
            "max_tokens": 9,
            "output": ANSWER,
        },
    )
    assert exchange.read().settings == {
        "model": f'"{MODEL}"',
        "temperature": "0.5",
        "max_tokens": "9",
    }


def test_own_keys_open_envelopes_too(tmp_path):
    record = {"asked": {"messages": MESSAGES}, "told": [SAID]}
    (exchange,), _ = read(tmp_path, record, input_key="asked", output_key="told")
    assert exchange.answer == Answer(ANSWER)
    assert len(exchange.prompt().messages) == 2
    record = {"a": {"b": json.dumps({"c": USER})}, "d": ANSWER}
    (exchange,), _ = read(tmp_path, record, input_key="a.b.c", output_key="d")
    assert exchange.prompt().messages[0].text == USER


def test_an_unknown_record_names_the_options_that_help(tmp_path):
    _, problems = read(tmp_path, {"ticket": USER, "queue": ANSWER, "n": 3})
    reason = problems.first_bad[0].reason
    assert "it has ticket, queue, n" in reason
    assert "--input-key 'ticket' --output-key 'queue'" in reason


def test_a_system_text_beside_the_messages_is_theirs(tmp_path):
    record = {"system": SYSTEM, "messages": MESSAGES[1:], "response": COMPLETION}
    (exchange,), _ = read(tmp_path, record)
    assert exchange.api == "chat"
    assert exchange.prompt().messages[0].text == SYSTEM
    (exchange,), _ = read(tmp_path, {**record, "response": MESSAGE})
    assert exchange.api == "messages"
    assert exchange.prompt().messages[0].text == SYSTEM


@pytest.mark.parametrize("kind", ["chain", "TOOL", "Retriever", "agent"])
def test_spans_of_tools_that_are_not_known(tmp_path, kind):
    span = {"traceId": "t", "kind": kind, "input": USER, "output": ANSWER}
    found, problems = read(tmp_path, span, {"kind": kind, "input": USER, "output": ANSWER})
    assert len(found) == 1
    assert problems.skipped == {f"a span of the application ({kind.lower()})": 1}


def test_a_time_of_another_name_is_named_and_can_be_given(tmp_path):
    rows = [{"text": f"{i}", "label": "x", "due_date": 1_700_000_000 + i} for i in (2, 1)]
    found, problems = read(tmp_path, *rows)
    assert problems.time_keys == ["due_date"]
    assert [exchange.time for exchange in found] == [0.0, 0.0]
    again, problems = read(tmp_path, *rows, time_key="due_date")
    assert [exchange.time for exchange in again] == [1_700_000_001, 1_700_000_002]
    assert {e.id for e in again} == {e.id for e in found}
