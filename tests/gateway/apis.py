"""A request of each API."""

import json

from openwheel.wire import APIS, TEXT_APIS

ALL_PATHS = {name: api.path for name, api in APIS.items()}
PATHS = {name: api.path for name, api in TEXT_APIS.items()}


def request_of(api: str, text: str, *, stream: bool = False, **fields: object) -> bytes:
    """Return the body of a request of an API; those for questions have a choice of two queues."""
    said = [{"role": "user", "content": text}]
    asked: dict[str, object] = {
        "chat": {"messages": said},
        "messages": {"messages": said, "max_tokens": 9},
        "responses": {"input": text, "store": False},
        "completions": {"prompt": text},
        "decisions": {
            "input": text,
            "questions": [
                {"type": "choice", "choices": [{"value": "billing"}, {"value": "shipping"}]}
            ],
        },
        "systemone": {
            "state": text,
            "questions": {"q": {"type": "choice", "criteria": {"billing": None, "shipping": None}}},
        },
    }[api]
    sent = {"stream": stream} if api in TEXT_APIS else {}
    return json.dumps({"model": "m", **asked, **sent, **fields}).encode()


def said(api: str, data: bytes, *, stream: bool) -> str:
    """Return the text of a whole answer in one of the APIs; fails where it is not whole."""
    if not stream:
        body = json.loads(data)
        found = {
            "chat": lambda: [body["choices"][0]["message"]["content"]],
            "completions": lambda: [body["choices"][0]["text"]],
            "messages": lambda: [part["text"] for part in body["content"]],
            "responses": lambda: [p["text"] for item in body["output"] for p in item["content"]],
        }[api]()
        return "".join(found)
    lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    if api in {"chat", "completions"}:
        assert lines[-1] == "[DONE]"
        choices = [event["choices"][0] for event in events if event["choices"]]
        assert choices[-1]["finish_reason"] == "stop"
        texts = (one.get("text") or one.get("delta", {}).get("content") for one in choices)
        return "".join(text or "" for text in texts)
    last = {"messages": "message_stop", "responses": "response.completed"}[api]
    assert events[-1]["type"] == last
    if api == "responses":
        return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)
