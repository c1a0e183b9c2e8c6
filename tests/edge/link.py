"""A link that can be cut: a TCP proxy on loopback."""

import asyncio
import contextlib
import threading
from typing import Self

from teacher import HOST, take_port


class LinkProxy:
    """Passes bytes to a port, as long as the link is there.

    Attributes:
        port: Where it listens.
        target: The port that it passes to.
        sent: The heads and bodies that clients sent, as far as they are kept; see `wait_for`.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._mode = "up"
        self._writers: set[asyncio.StreamWriter] = set()
        self._expected = b""
        self._seen = threading.Event()

    def __enter__(self) -> Self:
        self._held, self.port = take_port()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="link")
        self._started = threading.Event()
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._held.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    def cut(self) -> None:
        """Break every connection, and refuse others."""
        self._set("cut")

    def hang(self) -> None:
        """Pass nothing on, and say nothing, as a link does whose cable was pulled."""
        self._set("hang")

    def mend(self) -> None:
        """Pass bytes again; connections that hung are broken."""
        self._set("up")

    def expect(self, sent: bytes) -> threading.Event:
        """Return an event that is set once clients have sent these bytes over the link."""
        self._expected, self._seen = sent, threading.Event()
        return self._seen

    def _set(self, mode: str) -> None:
        done = threading.Event()

        def change() -> None:
            self._mode = mode
            if mode != "hang":
                for writer in self._writers:
                    writer.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(change)
        assert done.wait(10)

    async def _main(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        listener, _ = take_port(self.port)
        server = await asyncio.start_server(self._serve, sock=listener, backlog=256)
        self._started.set()
        await self._over.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._mode != "up":
                if self._mode == "cut":
                    writer.transport.abort()
                else:
                    await reader.read()
                return
            with contextlib.suppress(OSError):
                there, here = await asyncio.open_connection(HOST, self.target)
                self._writers.add(here)
                try:
                    await asyncio.gather(
                        self._pass(reader, here, watched=True), self._pass(there, writer)
                    )
                finally:
                    self._writers.discard(here)
                    here.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        watched: bool = False,
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1 << 16):
                while self._mode == "hang":
                    await asyncio.sleep(0.01)
                if self._mode == "cut":
                    break
                writer.write(chunk)
                await writer.drain()
                # Once it has been passed on: what was read and lost was not said.
                if watched and self._expected and self._expected in chunk:
                    self._seen.set()
        writer.transport.abort()
