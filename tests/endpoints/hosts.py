"""Hosts that write every byte themselves, and a client that asks them."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from openwheel.endpoints.http_client import HttpClient, write_head
from openwheel.errors import TeacherError

# Self-signed, for 127.0.0.1, until 2126; it stands for nothing else.
CERTIFICATE = Path(__file__).with_name("loopback.crt")
KEY = Path(__file__).with_name("loopback.key")
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Host:
    """Answers each request with some bytes, or by a function; it reads bodies only if told to."""

    answer: bytes | Serve
    read_bodies: bool = True
    tls: ssl.SSLContext | None = None
    heads: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self.tls, backlog=256
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self.writers.append(writer)
        # Cancelled is what it is at the end, of which asyncio's streams would complain.
        gone = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*gone):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if self.read_bodies and b"content-length: " in head:
                    length = head.split(b"content-length: ")[1].split(b"\r\n")[0]
                    await reader.readexactly(int(length))
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                else:
                    await self.answer(head, writer)
                if not self.read_bodies:
                    await asyncio.Event().wait()
        self.left.set()

    def client(self, **settings) -> "contextlib.closing[HttpClient]":
        settings = {
            "secure": False,
            "label": "the-host",
            "connect_timeout": 5,
            "read_timeout": 5,
            **settings,
        }
        return contextlib.closing(HttpClient("127.0.0.1", self.port, **settings))


async def ask(client, method="POST", body=b"{}", path=b"/v1/x"):
    head = write_head(method, path, [(b"host", b"the-host")], len(body))
    return await client.request(head, body, bodiless=method == "HEAD")


async def whole(answer):
    return b"".join([chunk async for chunk in answer])


async def fetch(client, *args, **settings):
    return await whole(await ask(client, *args, **settings))


async def closed(writer, left):
    """Write what is left to write, and end the connection in order."""
    writer.write(left)
    await writer.drain()
    writer.close()


async def turn():
    """Let what has been sent arrive."""
    await asyncio.sleep(0.05)


def reset(writer):
    """End the connection as a process that dies does."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


async def read_into(got, client):
    async for chunk in await ask(client):
        got.append(chunk)


def failure(run, answer, **settings):
    """Return the message of the error that an answer ends in, and what came before it."""

    async def main():
        got = []
        async with Host(answer) as host:
            with host.client(**settings) as client:
                with pytest.raises(TeacherError) as caught:
                    await read_into(got, client)
                return str(caught.value), b"".join(got), caught.type

    return run(main())
