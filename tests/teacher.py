"""A teacher for tests: an HTTP server on loopback that answers with the bytes it is told to.

What it answers is set at any time: bytes, which are written as they are, or a function that writes
when and what it likes, so that an answer may be slow, hang, break off, or be no HTTP at all. What
it was asked is kept. It serves

- on the event loop of a test: ``async with Teacher(answer) as teacher``;
- from a thread: ``with Teacher(answer) as teacher``, and then goes `down` and comes `up` again;
- as a process that can be killed: `TeacherProcess`.

The port is any free one, and is kept while nobody listens. Of what is answered this module knows
only `says`; the dialects as vendors write them, errors included, are `clients.answers`.
"""

import asyncio
import contextlib
import functools
import importlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

HOST = "127.0.0.1"
END = b"\r\n\r\n"
GONE = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)


@dataclass(frozen=True)
class Asked:
    """A request as it was received."""

    head: bytes
    body: bytes

    @functools.cached_property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @functools.cached_property
    def headers(self) -> dict[str, str]:
        """By their names in small letters."""
        lines = self.head.removesuffix(END).decode("latin-1").split("\r\n")[1:]
        fields = (line.partition(":") for line in lines)
        return {name.lower(): value.strip(" ") for name, _, value in fields}


Answer = bytes | Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def respond(
    body: bytes = b"{}",
    *headers: str,
    status: int | str = "200 OK",
    head: str = "content-type: application/json",
) -> bytes:
    """Return a whole response; ``head`` is its first headers, ``headers`` are more."""
    status = status if isinstance(status, str) else f"{status} Said"
    lines = [f"HTTP/1.1 {status}", head, *headers, f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + END + body


def says(text: str) -> Answer:
    """Answer each of the gateway's APIs with one text, as a stream where that is asked for."""
    from openwheel import wire

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        api = next(api for api in wire.APIS.values() if api.path == asked.path)
        request, said = api.read_request(asked.body), wire.Answer(text)
        if request.stream:
            events = b"".join(api.events(said, request))
            writer.write(respond(events, head="content-type: text/event-stream"))
        else:
            writer.write(respond(api.body(said, request)))

    return answer


def replies(make: Callable[[Asked], bytes | tuple[int, bytes]]) -> Answer:
    """Answer each request with JSON, or a status and JSON, that a function makes in a thread."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        made = await asyncio.to_thread(make, asked)
        status, body = made if isinstance(made, tuple) else (200, made)
        writer.write(respond(body, status=status))

    return answer


async def silent(_: Asked, __: asyncio.StreamWriter) -> None:
    """Answer nothing, for as long as the client waits."""
    await asyncio.Event().wait()


async def hangs_up(_: Asked, writer: asyncio.StreamWriter) -> None:
    """End the connection in place of an answer."""
    writer.close()


@dataclass
class Teacher:
    """The server.

    Attributes:
        answer: What each request is answered with; may be set at any time.
        received: What it was asked.
        writers: One a connection that was made.
        disconnected: Set once a client went away before its answer was written.
        left: Set once a connection ended, for whatever reason; to await on the server's own loop.
        reads_bodies: If false, it answers once it has the head, and never reads on.
    """

    answer: Answer = b""
    tls: ssl.SSLContext | None = None
    reads_bodies: bool = True
    port: int = 0
    received: list[Asked] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    disconnected: threading.Event = field(default_factory=threading.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    stream_head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )

    @staticmethod
    def chunked(data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data)

    def answers(self, body: bytes, **more: str) -> None:
        """Answer every request with this response; see `respond`."""
        self.answer = respond(body, **more)

    def writes(self, raw: bytes, *, close: bool = False) -> None:
        """Answer every request with these bytes, and end the connection if that is wanted."""

        async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            await writer.drain()
            writer.close()

        self.answer = answer if close else raw

    def containing(self, text: str) -> list[Asked]:
        """Return the requests with a text in their body."""
        return [asked for asked in self.received if text.encode() in asked.body]

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    async def __aenter__(self) -> Self:
        self._serving: set[asyncio.Task[None]] = set()
        listener, self.port = take_port(self.port)
        if not self.reads_bodies:  # nor is the system to, which would take many megabytes
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self._server = await asyncio.start_server(
            self._serve, sock=listener, ssl=self.tls, backlog=256
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # in which they close

    def __enter__(self) -> Self:
        self._held, self.port = take_port()
        self._thread: threading.Thread | None = None
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._held.close()

    def up(self) -> None:
        """Listen, from a thread."""
        started = threading.Event()

        async def main() -> None:
            over, loop = asyncio.Event(), asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(over.set)
            async with self:
                started.set()
                await over.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(main()), name="teacher")
        self._thread.start()
        assert started.wait(10)

    def down(self) -> None:
        """Listen no more; connections break."""
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)
        self.writers.append(writer)
        ahead = asyncio.ensure_future(reader.readuntil(END))
        try:
            # Cancelled is what it is at the end, of which asyncio's streams would complain.
            with contextlib.suppress(*GONE):
                while not writer.is_closing():
                    asked = await self._read(await ahead, reader)
                    self.received.append(asked)
                    if not self.reads_bodies:
                        await self._answer(asked, writer)
                        await asyncio.Event().wait()
                    work = asyncio.ensure_future(self._answer(asked, writer))
                    # Waiting for the next request is how a client that goes away is noticed.
                    ahead = asyncio.ensure_future(reader.readuntil(END))
                    try:
                        await asyncio.wait([work, ahead], return_when=asyncio.FIRST_COMPLETED)
                        if not work.done() and ahead.exception():
                            self.disconnected.set()
                            break
                        await work
                    finally:
                        work.cancel()
        finally:
            ahead.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(ahead, return_exceptions=True)
            writer.close()
            self.left.set()
            self._serving.discard(task)

    async def _read(self, head: bytes, reader: asyncio.StreamReader) -> Asked:
        asked, body = Asked(head, b""), b""
        if self.reads_bodies and asked.headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        elif self.reads_bodies:
            body = await reader.readexactly(int(asked.headers.get("content-length", 0)))
        return Asked(head, body)

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if isinstance(self.answer, bytes):
            writer.write(self.answer)
        else:
            await self.answer(asked, writer)


def take_port(port: int = 0) -> tuple[socket.socket, int]:
    """Take a port without listening, any free one if it is 0.

    Nobody else gets it while it is held, but who shares it on purpose, as here.
    """
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    taken.bind((HOST, port))
    return taken, taken.getsockname()[1]


class TeacherProcess:
    """A teacher as a process of its own, always on the same port.

    Args:
        makes: ``module:function`` of what makes the answer, of the words that `start` is given.
    """

    def __init__(self, makes: str) -> None:
        self._makes = makes
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._held, self.port = take_port()
        self.url = f"http://{HOST}:{self.port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._held.close()

    def start(self, *words: str) -> None:
        """Start it, and wait until it listens."""
        path = os.pathsep.join(part for part in sys.path if part)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.port), self._makes, *words],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None


async def _be_a_process(port: str, makes: str, *words: str) -> None:
    module, _, function = makes.partition(":")
    answer = getattr(importlib.import_module(module), function)(*words)
    async with Teacher(answer, port=int(port)):
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_be_a_process(*sys.argv[1:]))
