"""The teacher of all sides: answers at once, streams chunk by chunk, or falls silent.

Run by the benchmark as ``python -m gateway_bench.teacher [ANSWERS]``; prints its port. A body with
`SILENT` in it gets one chunk and then nothing until somebody posts to ``/release``. A body of
which the file ANSWERS has the key gets the answer there.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import cast

import uvloop

from gateway_bench.bodies import REF, key_before
from gateway_bench.processes import raise_descriptor_limit

CHUNKS = 100
GAP_S = 0.004  # so that chunks travel one by one: 4,000 a second over 16 connections
SILENT = "stay silent"


def _completion(answer: str) -> bytes:
    message = {"role": "assistant", "content": answer}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_772_431_686,
        "model": "teacher-large",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 554, "completion_tokens": 5, "total_tokens": 559},
    }
    return json.dumps(body).encode()


_ANSWER = _completion("hydraulics")
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
        answers: What it answers, by the key of the body.
    """

    def __init__(self, held: "set[Teacher]", answers: dict[str, str]) -> None:
        self._held = held
        self._answers = answers
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
        elif (answer := self._known(request)) is not None:
            if _STREAMED.search(request):
                chunk = _framed(_chunk({"role": "assistant", "content": answer}))
                self._write(_STREAM_HEAD + chunk + _END)
            else:
                self._send_json(_completion(answer))
        elif not _STREAMED.search(request):
            self._send_json(_ANSWER)
        elif SILENT.encode() in request:
            self._held.add(self)
            self._write(_STREAM_HEAD + _FIRST)
        else:
            self._write(_STREAM_HEAD + _FIRST)
            self._go_on(CHUNKS - 1)

    def _known(self, request: bytes) -> str | None:
        if not self._answers:
            return None
        return self._answers.get(key_before(request, request.rfind(REF) + len(REF)))

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


async def _serve(answers: dict[str, str]) -> None:
    held: set[Teacher] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Teacher(held, answers), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    raise_descriptor_limit()
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")) if sys.argv[1:] else {}
    uvloop.run(_serve(told))
