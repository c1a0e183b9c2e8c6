"""Servers on loopback whose every byte a test writes itself."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest
import uvloop

from teacher import Teacher, respond
from teachers.clients import CERTIFICATE, KEY


@pytest.fixture
def loopback() -> type[Teacher]:
    """Make a server; to be entered on the event loop of the test."""
    return Teacher


@pytest.fixture
def answer() -> Callable[..., bytes]:
    """Write a response: status, body, header lines."""
    return lambda status=200, body=b"{}", *headers: respond(body, *headers, status=status)


@pytest.fixture
def refusing() -> str:
    """A URL where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def never_connects() -> Iterator[str]:
    """A URL whose host has no room for another connection, and says nothing."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine; whatever the event loop complains of fails the test."""
    complaints = []

    async def watched(main):
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with asyncio.timeout(20):
            return await main

    def run(main):
        with asyncio.Runner(loop_factory=request.param) as runner:
            result = runner.run(watched(main))
        assert not complaints
        return result

    return run


@pytest.fixture
def server_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context
