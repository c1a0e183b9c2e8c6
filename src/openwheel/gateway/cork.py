"""Writes to a connection once an iteration of the event loop instead of once a piece.

A response's head and body come one after the other. A system call for each, and waking the client
twice, cost more than all other work of the gateway for a request.
"""

import asyncio
from typing import Any


class CorkedTransport:
    """Passes calls on to a transport, and writes at the end of the iteration.

    No piece waits longer: the pieces of one iteration go together, those of the next separately.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take a piece; see `asyncio.WriteTransport.write`."""
        if not data:
            return
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def write_eof(self) -> None:
        """Write the pieces taken so far, and end the writing side."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Write the pieces taken so far, and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close without writing anything more."""
        self._pieces.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the transport closes or is closed."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            if self._transport.is_closing():  # the client has left meanwhile
                return
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
