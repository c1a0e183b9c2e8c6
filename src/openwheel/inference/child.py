"""llama.cpp as a child of this process: started, asked, and ended with it."""

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httptools
import msgspec

from openwheel.errors import ModelError
from openwheel.inference.llama_cpp import WRONG, Run

_MODULE = "openwheel.inference.llama_cpp"
_STOP_S = 10.0
_READ = 1 << 16


class BrokenOffError(ConnectionError):
    """llama.cpp ended, or closed the connection, before its answer was whole."""


class DiedError(ModelError):
    """llama.cpp was killed or crashed while it started."""


class Reply:
    """An answer that arrives: its status and headers first.

    Attributes:
        status: The HTTP status.
        headers: By their names in lower case.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._reader, self._writer = reader, writer
        self._pieces: deque[bytes] = deque()
        self._begun = self._whole = False
        self._parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.status, self._begun = self._parser.get_status_code(), True

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._whole = True

    async def begin(self) -> None:
        """Wait for the status and the headers.

        Raises:
            BrokenOffError: There were none.
        """
        while not self._begun:
            await self._feed()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            BrokenOffError: It ended before it was whole.
        """
        while self._pieces or not self._whole:
            if not self._pieces:
                await self._feed()
            while self._pieces:
                yield self._pieces.popleft()

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            BrokenOffError: It ended before it was whole.
        """
        return b"".join([piece async for piece in self.pieces()])

    def close(self) -> None:
        """Close the connection; llama.cpp then writes no more."""
        self._writer.close()

    async def _feed(self) -> None:
        try:
            data = await self._reader.read(_READ)
            if data:
                self._parser.feed_data(data)
        except (OSError, httptools.HttpParserError) as error:
            raise BrokenOffError(str(error)) from None
        if not data and not self._whole:
            raise BrokenOffError("llama.cpp closed the connection")


class Llama:
    """llama.cpp in a child process.

    Args:
        run: What it runs.

    Attributes:
        run: What it runs.
        ended: Set when the process has ended.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.ended = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._last: deque[str] = deque(maxlen=20)
        self._host, self._port = "", 0

    @property
    def pid(self) -> int | None:
        """Its process id, None before it is started."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            ModelError: It cannot run what it is told to; the message has what it said.
            DiedError: It ended otherwise before it answered.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _MODULE),
                stdin=asyncio.subprocess.PIPE,  # it ends when this end closes
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise ModelError(f"llama.cpp cannot be started: {error}") from None
        self._process = process
        self._tasks = [asyncio.create_task(self._log()), asyncio.create_task(self._watch())]
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(msgspec.json.encode(self.run) + b"\n")
            await process.stdin.drain()
        url = (await process.stdout.readline()).decode().strip()
        if not url:
            await asyncio.gather(*self._tasks)
            said = next(iter(self._last), f"it ended with code {process.returncode}")
            kind = ModelError if process.returncode == WRONG else DiedError
            raise kind(f"llama.cpp cannot run {self.run.model}: {said}")
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 0

    async def ask(self, method: str, target: str, body: bytes) -> Reply:
        """Send a request, and return its answer once it begins; whoever asked closes it.

        Raises:
            BrokenOffError: It ended, or closed the connection.
        """
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            raise BrokenOffError(str(error)) from None
        reply = Reply(reader, writer)
        try:
            writer.write(
                f"{method} {target} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode("latin-1")
                + body
            )
            await reply.begin()
        except BaseException as error:
            reply.close()
            if isinstance(error, OSError) and not isinstance(error, BrokenOffError):
                raise BrokenOffError(str(error)) from None
            raise
        return reply

    async def stop(self) -> None:
        """End it, and wait until it has ended."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
        await asyncio.gather(*self._tasks)

    async def _watch(self) -> None:
        assert self._process is not None
        await self._process.wait()
        self.ended.set()

    async def _log(self) -> None:
        """Keep the last lines that it printed, each without its time and level."""
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            text = line.decode("utf-8", errors="replace").strip()
            if text:
                self._last.append(text.partition(" E ")[2].strip() or text)
