"""A request of each of the four APIs."""

import json

from openwheel.wire import TEXT_APIS

PATHS = {name: api.path for name, api in TEXT_APIS.items()}


def request_of(api: str, text: str, *, stream: bool = False, **fields: object) -> bytes:
    """Return the body of a request of one of the four APIs."""
    said = [{"role": "user", "content": text}]
    asked: dict[str, object] = {
        "chat": {"messages": said},
        "messages": {"messages": said, "max_tokens": 9},
        "responses": {"input": text, "store": False},
        "completions": {"prompt": text},
    }[api]
    return json.dumps({"model": "m", **asked, "stream": stream, **fields}).encode()
