"""The HTTP client as the tests make and ask it, and parts of what it is answered."""

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import pytest

from openwheel.errors import TeacherError
from openwheel.teachers.http_client import HttpClient, write_head
from teacher import Teacher

# Self-signed, for 127.0.0.1, until 2126; it stands for nothing else.
CERTIFICATE = Path(__file__).with_name("loopback.crt")
KEY = Path(__file__).with_name("loopback.key")
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"


def client_of(teacher, **settings) -> "contextlib.closing[HttpClient]":
    given = {"secure": False, "label": "the-host", "connect_timeout": 5, "read_timeout": 5}
    return contextlib.closing(HttpClient("127.0.0.1", teacher.port, **{**given, **settings}))


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
        async with Teacher(answer) as host:
            with client_of(host, **settings) as client:
                with pytest.raises(TeacherError) as caught:
                    await read_into(got, client)
                return str(caught.value), b"".join(got), caught.type

    return run(main())
