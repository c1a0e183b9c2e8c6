"""The teacher of all sides: answers at once, streams chunk by chunk, or falls silent.

Run by the benchmark as ``python -m gateway_bench.teacher``; prints its port. A body with `SILENT`
in it gets one chunk and then nothing until somebody posts to ``/release``.
"""

import asyncio
import json
import re
from typing import cast

import uvloop

from gateway_bench.processes import raise_descriptor_limit

CHUNKS = 100
GAP_S = 0.004  # so that chunks travel one by one: 4,000 a second over 16 connections
SILENT = "stay silent"

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_772_431_686,
        "model": "teacher-large",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hydraulics"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 554, "completion_tokens": 5, "total_tokens": 559},
    }
).encode()
_STREAMED = re.compile(rb'"stream": *true')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_772_431_686,
        "model": "teacher-large",
        "choices": [choice],
    }
    return b"data: %s\n\n" % json.dumps(event, separators=(",", ":")).encode()


def _framed(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


_FIRST = _framed(_chunk({"role": "assistant", "content": "word "}))
_NEXT = _framed(_chunk({"content": "word "}))
_END = _framed(_chunk({}, "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Teacher(asyncio.Protocol):
    """One connection to the teacher.

    Args:
        held: The connections whose stream was left open, of all; shared among them.
    """

    def __init__(self, held: "set[Teacher]") -> None:
        self._held = held
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._held.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(self._buffer, 0, end + 2)
        whole = end + 4 + (int(found[1]) if found else 0)
        if len(self._buffer) < whole:
            return
        request = bytes(self._buffer[:whole])
        del self._buffer[:whole]
        self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"POST /release"):
            self._send_json(b"%d" % len(self._held))
            for connection in list(self._held):
                connection.end()
            self._held.clear()
        elif not _STREAMED.search(request):
            self._send_json(_ANSWER)
        elif SILENT.encode() in request:
            self._held.add(self)
            self._write(_STREAM_HEAD + _FIRST)
        else:
            self._write(_STREAM_HEAD + _FIRST)
            self._go_on(CHUNKS - 1)

    def end(self) -> None:
        """End the stream as it should."""
        self._write(_END)

    def _go_on(self, left: int) -> None:
        def later() -> None:
            if left:
                self._write(_NEXT)
                self._go_on(left - 1)
            else:
                self.end()

        if self._transport is not None and not self._transport.is_closing():
            asyncio.get_running_loop().call_later(GAP_S, later)

    def _send_json(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._write(head % len(body) + body)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def _serve() -> None:
    held: set[Teacher] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Teacher(held), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    raise_descriptor_limit()
    uvloop.run(_serve())
