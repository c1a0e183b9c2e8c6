"""What every `Api` for texts must do, whatever its shape."""

import json

from openwheel.errors import TeacherError
from openwheel.wire import Answer, Api, Request, ToolCall, Usage, sse_data

USER = {"role": "user", "content": "where is my parcel?"}
ASK = {
    "chat": {"model": "m", "messages": [USER], "stream_options": {"include_usage": True}},
    "responses": {"model": "m", "input": "where is my parcel?", "store": False},
    "completions": {"model": "m", "prompt": "where?", "stream_options": {"include_usage": True}},
    "messages": {"model": "m", "max_tokens": 9, "messages": [USER]},
}


def ask(api: Api, **fields) -> Request:
    return api.read_request(json.dumps({**ASK[api.name], **fields}).encode())


def check_api(api: Api, answer: Answer, usage: Usage) -> None:
    """Write an answer, whole and streamed, and read the same answer back."""
    request = ask(api)
    whole = api.read_reply(api.body(answer, request, usage))
    stream = b"".join(api.events(answer, request, usage))
    streamed = api.read_stream(sse_data(stream))
    assert whole == streamed
    assert whole.answer.text == answer.text
    assert whole.model == "m"
    assert whole.usage == usage
    assert whole.answer.complete == answer.complete
    if answer.finish_reason in {"stop", "length"} and not answer.tool_calls:
        assert whole.answer == answer
    if answer.tool_calls:
        assert whole.answer.tool_calls == answer.tool_calls
        assert whole.answer.finish_reason == "tool_calls"
    assert api.ends(stream[-1024:]) or len(stream) > 1024
    check_cut(api, stream)


def check_cut(api: Api, stream: bytes) -> None:
    """Cut the stream after each of its events: only the whole one is an answer."""
    events = stream.split(b"\n\n")
    ends = [end for end in range(len(events)) if _reads(api, b"\n\n".join(events[:end]))]
    # Once finished, the rest (usage, [DONE]) may be lost.
    assert ends == list(range(ends[0], len(events)))
    for end in range(ends[0]):
        assert not api.ends(b"\n\n".join(events[:end]) + b"\n\n")


def _reads(api: Api, stream: bytes) -> bool:
    try:
        api.read_stream(sse_data(stream))
    except TeacherError:
        return False
    return True


CALLS = Answer("", (ToolCall("find", '{"id": 7}'), ToolCall("send", "{}")), "tool_calls")
