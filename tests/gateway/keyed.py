"""A gateway with keys, and who asks it."""

import contextlib
import json
import time
from dataclasses import dataclass

import anthropic
import openai

from openwheel.access import Access, Key, KeyStore, Ledger, Spending
from openwheel.gateway import CaptureWriter
from openwheel.store import Store

TEACHER_KEY = "sk-teachers-own-secret-4711"
COMPLETION = {
    "model": "m-1",
    "choices": [{"index": 0, "message": {"content": "shipping"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 600, "completion_tokens": 400},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m-1",
    "content": [{"type": "text", "text": "shipping"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 600, "output_tokens": 400},
}
EMBEDDINGS = {
    "object": "list",
    "model": "e",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 70, "total_tokens": 70},
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "where is it?"}]}


@dataclass
class Guarded:
    """A gateway with keys."""

    url: str
    store: Store
    access: Access
    keys: KeyStore
    capture: CaptureWriter

    def key(self, name: str = "desk", **scope) -> tuple[Key, str]:
        """Make a key and have the gateway know it."""
        made = self.keys.create(name, **scope)
        self.access.refresh()
        return made

    def spent(self, key: Key, least: int = 0) -> Spending:
        """Return what a key spent, as another process would read it from the store.

        Waits for ``least`` tokens: they are charged when the client has its answer already.
        """

        def read() -> Spending:
            self.access.refresh()
            ledger = Ledger(self.store)
            ledger.flush()
            return ledger.spent(key)

        eventually(lambda: read().tokens >= least)
        return read()


def whole(value) -> bytes:
    body = json.dumps(value).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


@contextlib.contextmanager
def open_ai(running, secret, retries=0):
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=secret, max_retries=retries) as client:
        yield lambda **more: client.chat.completions.create(**{**CHAT, **more})


@contextlib.contextmanager
def claude(running, secret, retries=0):
    with anthropic.Anthropic(base_url=running.url, api_key=secret, max_retries=retries) as client:
        yield lambda **more: client.messages.create(**{**CHAT, "max_tokens": 9, **more})


def eventually(found, seconds=5.0):
    """Wait until ``found`` returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := found()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


def refused(running, http, secret) -> int:
    headers = {"authorization": f"Bearer {secret}"}
    return json.loads(http("GET", f"{running.url}/healthz", None, headers).data)["requests"][
        "refused"
    ]
