"""A store that holds what it is given, a client that shows what it has got so far."""

import asyncio
import socket
import threading
import time
from urllib.parse import urlsplit

LONG = "Route the ticket. " * 300  # so that what repeats it is longer than what is looked at
USER = {"role": "user", "content": "where is it?"}
ASK = {
    "chat": {"model": "m", "messages": [{"role": "system", "content": LONG}, USER]},
    "responses": {"model": "m", "instructions": LONG, "input": "where is it?", "store": False},
    "completions": {"model": "m", "prompt": "where is it?"},
    "messages": {"model": "m", "max_tokens": 9, "system": LONG, "messages": [USER]},
}
COMPLETION = (
    b'{"model":"m-1","choices":[{"index":0,"message":{"content":"shipping"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n\r\n"


class HeldStore:
    """Keeps exchanges in memory, but only once it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.exchanges = []

    def append(self, exchanges):
        self.entered.set()
        self.go.wait(10)
        self.exchanges += exchanges
        return len(exchanges)

    def has_same(self, exchange, *, within):
        return any(one.request == exchange.request for one in self.exchanges)

    def hold(self):
        self.go.clear()
        self.entered.clear()


class Reading:
    """A client that sends a request, and shows what it was sent so far."""

    def __init__(self, url, path, body, *headers):
        address = urlsplit(url)
        self.got = b""
        self.over = threading.Event()
        self._socket = socket.create_connection((address.hostname, address.port), timeout=10)
        lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
        head = "\r\n".join([*lines, *headers, "connection: close", "", ""])
        self._socket.sendall(head.encode() + body)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        with self._socket:
            while piece := self._socket.recv(1 << 16):
                self.got += piece
        self.over.set()

    def content(self):
        """Return what came of the body."""
        head, _, rest = self.got.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head:
            return rest
        pieces = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return b"".join(pieces)

    def whole(self):
        self._thread.join(10)
        assert self.over.is_set()
        return self.got


def eventually(found, seconds=5.0):
    """Wait until ``found`` returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := found()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return result


def written(upstream, form, api, request):
    """Have the teacher answer in a form, and return what of it ends the answer."""
    body = api.body("shipping", request)
    events = b"".join(api.events("shipping", request)).strip().split(b"\n\n")
    if form == "sized":
        upstream.writes(HEAD % (b"application/json", b"content-length: %d" % len(body)) + body)
        return body
    chunked = b"transfer-encoding: chunked"
    if form == "chunked":
        pieces = upstream.chunked(body[:50]) + upstream.chunked(body[50:])
        upstream.writes(HEAD % (b"application/json", chunked) + pieces + b"0\r\n\r\n")
        return b"\r\n0\r\n\r\n"
    *pieces, last = [event + b"\n\n" for event in events]
    half = len(last) // 2

    async def script(_, writer):
        writer.write(HEAD % (b"text/event-stream", chunked))
        for piece in (*pieces, last[:half], last[half:]):
            writer.write(upstream.chunked(piece))
            await writer.drain()
            await asyncio.sleep(0.01)  # so that they arrive one by one
        writer.write(b"0\r\n\r\n")

    upstream.answer = script
    return events[-1]
