"""The shapes that one record of a log may have."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import strategies as st

from fuzz import fuzz
from log_shapes import SHAPES
from openwheel.importing import LogProblems, read_log
from openwheel.wire import Answer, ToolCall, Usage

USER = {"role": "user", "content": "Pump 3 leaks"}
REPLY = {"role": "assistant", "content": "pumps"}
BODY = {"model": "m", "temperature": 0.5, "messages": [USER]}
COMPLETION = {
    "id": "c1",
    "created": 1_700_000_000,
    "model": "m-2024",
    "system_fingerprint": "fp_9",
    "choices": [{"index": 0, "message": REPLY, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def read(tmp_path, record, **options):
    """Return the one exchange of a log of one line, or why there is none."""
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(record) + "\n")
    problems = LogProblems()
    found = list(read_log(path, problems=problems, **options))
    assert problems.lines == 1
    if found:
        found[0].prompt()
        return found[0]
    return ([*problems.skipped] + [bad.reason for bad in problems.first_bad])[0]


def messages(exchange):
    return json.loads(exchange.request)["messages"]


@pytest.mark.parametrize("key", ["input", "text", "prompt"])
@pytest.mark.parametrize("output", ["output", "label", "teacher", "completion", "response"])
def test_pairs(tmp_path, key, output):
    exchange = read(tmp_path, {key: "Pump 3 leaks", output: "pumps", "other": 1})
    assert messages(exchange) == [USER]
    assert exchange.answer == Answer("pumps")
    assert exchange.source == "log"
    assert not exchange.unbiased  # it has no time, and nobody said that it is in order
    assert exchange.audit_probability == 1.0


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}'),
        (["x"], '["x"]'),
        (3, "3"),
        (2.5, "2.5"),
        (True, "true"),
        (0, "0"),
        (" kept as it is\n", " kept as it is\n"),
    ],
)
def test_outputs_that_are_not_text_are_written_as_json(tmp_path, output, text):
    assert read(tmp_path, {"text": "a", "label": output}).answer.text == text


def test_keys_of_ones_own(tmp_path):
    record = {"ticket": {"body": "Pump 3 leaks"}, "queue.name": "pumps", "label": "wrong"}
    exchange = read(tmp_path, record, input_key="ticket.body", output_key="queue.name")
    assert messages(exchange) == [USER]
    assert exchange.answer.text == "pumps"
    exchange = read(tmp_path, {"text": "Pump 3 leaks", "gpt4": "pumps"}, output_key="gpt4")
    assert exchange.answer.text == "pumps"
    chat = {"messages": [{"role": "system", "content": "s"}, USER], "gpt4": "pumps"}
    exchange = read(tmp_path, chat, input_key="messages", output_key="gpt4")
    assert messages(exchange) == chat["messages"]
    reason = read(tmp_path, {"text": "a"}, output_key="gpt4")
    assert reason == "no output: it must have a key gpt4, it has text"


def test_instruction_data(tmp_path):
    record = {"instruction": "Route it", "input": "Pump 3 leaks", "output": "pumps"}
    assert messages(read(tmp_path, record)) == [{"role": "system", "content": "Route it"}, USER]
    record = {"instruction": "Pump 3 leaks", "input": "", "output": "pumps"}
    assert messages(read(tmp_path, record)) == [USER]
    record = {"system": "Route it", "prompt": "Pump 3 leaks", "completion": "pumps"}
    assert messages(read(tmp_path, record))[0] == {"role": "system", "content": "Route it"}


def test_chats(tmp_path):
    system = {"role": "system", "content": "Route it"}
    tools = [{"type": "function", "function": {"name": "f"}}]
    exchange = read(tmp_path, {"messages": [system, USER, REPLY], "tools": tools})
    assert json.loads(exchange.request) == {"messages": [system, USER], "tools": tools}
    assert exchange.answer == Answer("pumps")
    parts = [{"type": "text", "text": "pum"}, {"type": "text", "text": "ps"}]
    exchange = read(tmp_path, {"messages": [USER, {"role": "assistant", "content": parts}]})
    assert exchange.answer == Answer("pumps")


def test_conversations(tmp_path):
    turns = [
        {"from": "system", "value": "Route it"},
        {"from": "human", "value": "Pump 3 leaks"},
        {"from": "gpt", "value": "pumps"},
    ]
    exchange = read(tmp_path, {"conversations": turns})
    assert messages(exchange) == [{"role": "system", "content": "Route it"}, USER]
    assert exchange.answer == Answer("pumps")


def test_tool_calls(tmp_path):
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    reply = {"role": "assistant", "content": None, "tool_calls": [call]}
    exchange = read(tmp_path, {"messages": [USER, reply]})
    assert exchange.answer == Answer("", (ToolCall("f", '{"a": 1}'),))
    reply["tool_calls"] = [{"function": {"name": "f", "arguments": {"b": 1, "a": 2}}}]
    assert read(tmp_path, {"messages": [USER, reply]}).answer.tool_calls[0].arguments == (
        '{"b":1,"a":2}'
    )
    old = {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}
    assert read(tmp_path, {"messages": [USER, old]}).answer.tool_calls == (ToolCall("f", ""),)


@pytest.mark.parametrize(
    "record",
    [
        {"request": BODY, "response": COMPLETION},
        {"request": json.dumps(BODY), "response": json.dumps(COMPLETION)},
        {
            "custom_id": "1",
            "request": {"method": "POST", "body": BODY},
            "response": {"status_code": 200, "body": COMPLETION},
        },
        {"custom_id": "1", "body": BODY, "response": {"body": COMPLETION}},
        {"input": BODY, "output": COMPLETION},
        {"kwargs": BODY, "output": COMPLETION},
        {"request": {"kwargs": BODY}, "response": COMPLETION},
        {"request": BODY, "output": COMPLETION, "error": None},
    ],
)
def test_requests_and_responses(tmp_path, record):
    exchange = read(tmp_path, record)
    assert json.loads(exchange.request) == BODY
    assert exchange.answer == Answer("pumps")
    assert exchange.model == "m-2024"
    assert exchange.fingerprint == "fp_9"
    assert exchange.usage == Usage(3, 1)
    assert exchange.time == 1_700_000_000


@pytest.mark.parametrize(
    "record",
    [
        {"input": [USER], "output": "pumps"},
        {"input": {"messages": [USER]}, "output": {"choices": [{"message": REPLY}]}},
        {"messages": [USER], "response": COMPLETION},
        {"messages": [USER], "completion": "pumps"},
        {**COMPLETION, "messages": [USER]},
        {"request": "Pump 3 leaks", "response": "pumps"},
        {"request": [USER], "response": REPLY},
        {
            "request": {"messages": [USER], "max_tokens": 9},
            "response": {
                "role": "assistant",
                "content": [{"type": "text", "text": "pumps"}],
                "stop_reason": "end_turn",
            },
        },
    ],
)
def test_other_shapes_of_requests_and_responses(tmp_path, record):
    exchange = read(tmp_path, record)
    assert messages(exchange) == [USER]
    assert exchange.answer.text == "pumps"
    assert exchange.answer.complete


def response(message=None, **choice):
    return {**COMPLETION, "choices": [{"message": message or REPLY, **choice}]}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (response(finish_reason="length"), "length"),
        (response(finish_reason="content_filter"), "content_filter"),
        (response(finish_reason="odd"), "odd"),
        (response({"content": ""}, finish_reason="content_filter"), "content_filter"),
        (response({"refusal": "I cannot"}), "refusal"),
        (response({"content": [{"type": "refusal", "refusal": "I cannot"}]}), "refusal"),
        ({"output": [], "status": "incomplete"}, "incomplete"),
    ],
)
def test_an_answer_that_did_not_end_by_itself_is_kept_as_what_it_was(tmp_path, given, reason):
    """Nobody learns from it, but a student would have answered: certificates count it."""
    exchange = read(tmp_path, {"request": BODY, "response": given})
    assert not exchange.answer.complete
    assert exchange.answer.finish_reason == reason


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"request": BODY, "response": {"error": {"message": "no"}}}, "the answer is an error"),
        ({"request": BODY, "response": {"status_code": 429, "body": {}}}, "the answer is an error"),
        ({"request": BODY, "response": COMPLETION, "error": "timeout"}, "the answer is an error"),
        ({"request": BODY, "response": None}, "no answer"),
        ({"request": BODY}, "no answer"),
        ({"request": BODY, "response": {"choices": []}}, "no answer"),
        ({"request": BODY, "response": response({"content": " \n"})}, "the answer is empty"),
        ({"messages": [USER]}, "does not end in an assistant message"),
        ({"messages": [REPLY]}, "no message before the answer"),
        ({"text": "a", "label": None}, "no answer"),
        ({"text": " ", "label": "x"}, "the input is empty"),
    ],
)
def test_what_is_skipped(tmp_path, record, reason):
    assert reason in read(tmp_path, record)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "a"}, "no output: it must have a key output or teacher or response"),
        ({}, "it has none"),
        ({"response": COMPLETION}, "a response but no request"),
        ({"request": BODY, "response": {"x": 1}}, "the response is not one"),
        (
            {"request": {"messages": [{"role": 3}]}, "response": COMPLETION},
            "messages must be a list",
        ),
        ({"request": {"messages": []}, "response": COMPLETION}, "no messages"),
        ({"messages": "hello"}, "messages must be a list"),
        ({"messages": [USER, 3]}, "messages must be a list"),
        ({"messages": [{**USER, "content": 3}, REPLY]}, "not a chat request"),
        ({"messages": [USER, {**REPLY, "content": 3}]}, "content must be text"),
        ({"messages": [USER, {**REPLY, "tool_calls": [{}]}]}, "tool call without a name"),
        ({"messages": [USER, {**REPLY, "tool_calls": 3}]}, "tool_calls must be a list"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "a known speaker"),
        ({"request": BODY, "response": {"choices": [{"message": 3}]}}, "has no message"),
    ],
)
def test_what_is_bad(tmp_path, record, reason):
    assert reason in read(tmp_path, record)


WORDS = [
    "arguments",
    "assistant",
    "body",
    "choices",
    "content",
    "conversations",
    "created",
    "error",
    "finish_reason",
    "from",
    "function",
    "function_call",
    "gpt",
    "input",
    "instruction",
    "kwargs",
    "label",
    "message",
    "messages",
    "metadata",
    "model",
    "name",
    "output",
    "output_text",
    "prompt",
    "prompt_tokens",
    "refusal",
    "request",
    "response",
    "response_format",
    "role",
    "status_code",
    "stop",
    "task",
    "text",
    "time",
    "tool_calls",
    "tools",
    "type",
    "usage",
    "user",
    "value",
]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*WORDS, "", '{"messages":[]}', "[1]", '{"choices":[{}]}']),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=20,
)


def spoil(data, value, new):
    """Put `new` in the place of some part of `value`."""
    if not value or not isinstance(value, dict | list) or data.draw(st.integers(0, 3)) == 0:
        return new
    if isinstance(value, list):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], spoil(data, value[at], new), *value[at + 1 :]]
    key = data.draw(st.sampled_from([*value, *WORDS]))
    return {**value, key: spoil(data, value.get(key), new)}


@fuzz(st.data(), short=150, long=20_000)
def test_any_object_is_an_exchange_or_has_a_reason(tmp_path_factory, data):
    record = data.draw(st.sampled_from(SHAPES)).record
    for _ in range(data.draw(st.integers(1, 3))):
        record = spoil(data, record, data.draw(json_values))
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps({"spoiled": record} if not isinstance(record, dict) else record))
    problems = LogProblems()
    found = list(read_log(path, problems=problems))
    # A spoiled record may be taken for a list of records.
    counted = problems.bad + sum(problems.skipped.values())
    assert len(found) + counted == max(problems.lines, problems.bad)
    for exchange in found:
        assert exchange.prompt().messages
        answer = exchange.answer
        assert answer.text.strip() or answer.tool_calls or not answer.complete


@pytest.mark.parametrize("key", ["time", "timestamp", "created", "created_at", "date"])
@pytest.mark.parametrize(
    "value",
    [
        1_700_000_000,
        1_700_000_000.0,
        1_700_000_000_000,
        "1700000000",
        1_700_000_000_000_000_000,
        "2023-11-14T22:13:20Z",
        "2023-11-14T23:13:20.000+01:00",
        "2023-11-14 22:13:20",
    ],
)
def test_times(tmp_path, key, value):
    exchange = read(tmp_path, {"text": "a", "label": "x", key: value})
    assert exchange.time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "2023-11-14 22:13:20 UTC",
        "2023-11-14T22:13:20.123456789Z",
        "2023-11-14 22:13:20.5+00",
        "2023/11/14 22:13:20",
        "14.11.2023 22:13:20",
        "11/14/2023 10:13:20 PM",
        "14/11/2023 22:13:20",
        "14/Nov/2023:22:13:20 +0000",
        "Nov 14, 2023, 10:13:20 PM",
        "20231114T221320Z",
        {"$date": "2023-11-14T22:13:20Z"},
        {"$date": {"$numberLong": "1700000000000"}},
        {"seconds": 1_700_000_000, "nanos": 5},
        "1700000000000",
        1_700_000_000_000_000,
    ],
)
@pytest.mark.parametrize("key", ["startTime", "Created At", "TimeGenerated", "@timestamp", "ts"])
def test_times_as_tools_write_them(tmp_path, value, key):
    exchange = read(tmp_path, {"text": "a", "label": "x", key: value})
    assert int(exchange.time) == 1_700_000_000


def test_a_date_and_a_time_of_day_are_read_together(tmp_path):
    record = {"text": "a", "label": "x", "date": "2023-11-14", "time": "22:13:20"}
    assert read(tmp_path, record).time == 1_700_000_000


def test_the_time_of_the_request_is_before_that_of_the_answer(tmp_path):
    record = {"end_time": 1_700_000_009, "startTime": 1_700_000_000, "text": "a", "label": "x"}
    assert read(tmp_path, record).time == 1_700_000_000


@pytest.mark.parametrize("value", ["4/6/16 14:00", -5, True, [], "nan", "", None, "9999999-01-01"])
def test_times_that_cannot_be_read_are_counted(tmp_path, value):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"text": "a", "label": "x", "time": value}))
    problems = LogProblems()
    (exchange,) = read_log(path, problems=problems)
    assert exchange.time == 0.0
    assert problems.times_unread == (value not in ("", None))


def test_what_goes_with_an_exchange(tmp_path):
    record = {"text": "a", "label": "x", "model": "m", "task": "route", "latency_ms": "12.5"}
    exchange = read(tmp_path, record)
    assert (exchange.model, exchange.task, exchange.latency_ms) == ("m", "route", 12.5)
    for key in ("latency", "duration_ms"):
        assert read(tmp_path, {"text": "a", "label": "x", key: 3}).latency_ms == 3.0
    assert read(tmp_path, {"text": "a", "label": "x", "latency": -1}).latency_ms is None
    assert read(tmp_path, {"text": "a", "label": "x", "metadata": {"task": "t"}}).task == "t"
    assert read(tmp_path, {"text": "a", "label": "x", "openwheel_task": "t"}).task == "t"
    body = {**BODY, "metadata": {"openwheel_task": "t"}}
    assert read(tmp_path, {"request": body, "response": COMPLETION}).task == "t"
    chat = {"messages": [USER, REPLY], "usage": {"input_tokens": 5, "output_tokens": 6}}
    assert read(tmp_path, chat).usage == Usage(5, 6)


def test_shapes_in_csv_columns(tmp_path):
    path = tmp_path / "log.csv"
    cell = msgspec.json.encode([USER, REPLY]).decode().replace('"', '""')
    path.write_text(f'n,messages\n1,"{cell}"\n')
    (exchange,) = read_log(path, problems=LogProblems(), strict=True)
    assert messages(exchange) == [USER]
