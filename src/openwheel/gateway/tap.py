"""Reads a teacher's answer as it passes, and makes exchanges of it at its end."""

import logging
from collections.abc import Iterable

import msgspec

from openwheel.errors import TeacherError
from openwheel.gateway.call import Call
from openwheel.gateway.exchanges import REJECTS, Taken, is_stream, parse_reply, take_response
from openwheel.gateway.recorder import BYTES_A_TOKEN, Recorder
from openwheel.gateway.state import GatewayState
from openwheel.store.exchange import Exchange
from openwheel.teachers import TeacherResponse
from openwheel.wire import read_any_usage, sse_data

logger = logging.getLogger(__name__)

_LARGEST_CAPTURED = 8 << 20
_TAIL = 1024
_LARGEST_READ = 1 << 20
_CUT = "The teacher broke off: the connection closed in the middle of its answer"


class ExchangeTap:
    """Keeps one answer as it passes."""

    def __init__(self, call: Call, response: TeacherResponse, state: GatewayState) -> None:
        self._call = call
        self._response = response
        self._stream = is_stream(response.headers)
        self._announced = _announced(response.headers)
        self._recorder = state.recorder
        self._meter = state.meter
        self._memory = state.taps
        self._chunks: list[bytes] = []
        self._size = 0
        self._held = 0
        self._event = 0  # the first chunk of the last event, about
        self._whole = True
        self._ended = False
        self._taken: Taken | None = None

    def chunk(self, chunk: bytes) -> bool:
        """Take a chunk, and return whether it must wait for `before_end`.

        With strict capture the client must not get the end of an answer before its commit: the
        last event of a stream, or the last byte of a body whose length was announced. A body of
        unannounced length ends with the response, which waits anyway.
        """
        size = len(chunk)
        self._size += size
        if not self._whole:
            return self._ended  # or it would pass what is held already
        if self._size > _LARGEST_CAPTURED or self._memory.held + size > self._memory.most:
            self._forget()
            return self._ended
        self._memory.held += size
        self._held += size
        self._chunks.append(chunk)
        if not self._recorder.strict:
            return False
        if not self._stream:
            return self._size == self._announced
        self._ended = self._ended or self._ends(chunk)
        return self._ended

    async def before_end(self) -> None:
        """Check whether the answer is complete; with strict capture, commit first.

        Raises:
            TeacherError: The body is not whole; the client's connection is to break.
        """
        if not self._response.delimited and self._whole:
            body = b"".join(self._chunks)
            if not self._stream:
                _require_whole(self._response.headers, body)
            elif not self._call.api.ends(self._tail()):
                parse_reply(self._call.api, self._response.status, self._response.headers, body)
        if self._recorder.strict:
            self._read()
            await self._recorder.commit_all(
                (exchange, call.decision.task, call.is_retry)
                for call, exchange in self._exchanges()
            )

    def after_end(self) -> None:
        """Take note that the client has been sent the whole response."""
        if not self._recorder.strict:
            self._read()
            for call, exchange in self._exchanges():
                self._recorder.put(exchange, call.decision.task, is_retry=call.is_retry)

    def left(self) -> None:
        """Capture a stream whose client went away once it had seen the last event.

        The SDKs do not wait for the end of the response behind it. With strict capture that event
        is held, so the client has not seen it.
        """
        if self._stream and self._call.api.ends(b"".join(self._chunks)):
            self.after_end()

    def close(self) -> None:
        """Release the answer, however it ended; count its cost, whole or not."""
        taken = self._taken
        self._memory.held -= self._held
        self._held = 0
        if self._response.status in REJECTS:
            return
        if taken is not None:
            written = taken.written
        else:
            written = _written(self._chunks, self._size, stream=self._stream)
        self._recorder.spent(
            self._response.teacher,
            taken.reply.usage if taken else None,
            len(self._call.body),
            written,
            self._call.key,
        )

    def _ends(self, chunk: bytes) -> bool:
        """Return whether a chunk, the last so far, ends the stream."""
        api = self._call.api
        if api.ends(self._tail()):
            return True
        if not chunk.endswith((b"\n", b"\r")):
            return False
        # The last event may be long: Responses repeat the request and the whole answer in it.
        ends = api.ends(b"".join(self._chunks[self._event :]))
        if chunk.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            self._event = len(self._chunks)
        return ends

    def _tail(self) -> bytes:
        return b"".join(self._chunks[-8:])[-_TAIL:]

    def _forget(self) -> None:
        self._whole = False
        self._chunks.clear()
        self._memory.held -= self._held
        self._held = 0

    def _exchanges(self) -> list[tuple[Call, Exchange]]:
        return [] if self._taken is None else self._taken.exchanges

    def _read(self) -> None:
        call, response, latency_ms = self._call, self._response, self._call.latency_ms
        try:
            if not self._whole:
                raise TeacherError("It, or all answers under way, have too many bytes to keep")
            body = b"".join(self._chunks)
            self._taken = take_response(
                call,
                response.status,
                response.headers,
                body,
                latency_ms,
                teacher=response.teacher,
            )
        except TeacherError as error:
            self._meter.uncaptured += 1
            logger.warning("An answer was passed on but not captured: %s", error)
            return
        reply = self._taken.reply
        call.response_model, call.finish_reason = reply.model, reply.answer.finish_reason
        if reply.usage is not None:
            call.input_tokens = reply.usage.prompt_tokens
            call.output_tokens = reply.usage.completion_tokens


class CostTap:
    """Reads the cost of an answer that is not captured, if the answer reports it.

    Args:
        response: The answer.
        call: The request.
        recorder: Counts the cost.
        generates: Whether a teacher generates tokens for the request; if it does not report their
            number, that is estimated. A stream is always estimated.
        billed: Whether a whole answer reports its cost, if it has any: of a partial answer the
            request is counted.
    """

    def __init__(
        self,
        response: TeacherResponse,
        call: Call,
        recorder: Recorder,
        *,
        generates: bool = False,
        billed: bool = False,
    ) -> None:
        self._call = call
        self._billed = billed
        self._whole = False
        self._recorder = recorder
        self._answered = response.status == 200
        self._headers = response.headers
        self._delimited = response.delimited
        self._stream = is_stream(response.headers)
        self._generates = generates or self._stream
        self._chunks: list[bytes] = []
        self._size = 0

    def chunk(self, chunk: bytes) -> bool:
        """Take a chunk; none has to wait."""
        self._size += len(chunk)
        if self._answered and self._size <= _LARGEST_READ:
            self._chunks.append(chunk)
        return False

    async def before_end(self) -> None:
        """Take note that the answer is whole.

        Raises:
            TeacherError: It is not, as far as its connection shows.
        """
        if not self._delimited and self._answered and self._size <= _LARGEST_READ:
            body = b"".join(self._chunks)
            if not self._stream:
                _require_whole(self._headers, body)
            elif self._generates and not self._call.api.ends(body[-_TAIL:]):
                raise TeacherError(_CUT)
        self._whole = True

    def after_end(self) -> None:
        """Take no note."""

    def left(self) -> None:
        """Take no note."""

    def close(self) -> None:
        """Count what the answer cost; one without a usage, such as a list of models, is free."""
        if not self._answered:
            return
        usage, call = None, self._call
        if self._size <= _LARGEST_READ:
            body = b"".join(self._chunks)
            if self._stream:
                usage_events = [event for event in sse_data(body) if b'"usage"' in event]
                usage = read_any_usage(usage_events[-1]) if usage_events else None
            else:
                usage = read_any_usage(body)
        if usage is not None or self._generates:
            written = _written(self._chunks, self._size, stream=self._stream)
            self._recorder.spent(call.teacher, usage, len(call.body), written, call.key)
        elif self._billed and not self._whole:
            self._recorder.spent(call.teacher, None, len(call.body), 0, call.key)


def _require_whole(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Refuse JSON that stops in the middle, since a closing connection may have cut it.

    Raises:
        TeacherError: It stops in the middle.
    """
    if not any(name == b"content-type" and b"json" in value for name, value in headers):
        return
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (RecursionError, UnicodeDecodeError):
        return
    except msgspec.DecodeError as error:
        if "truncated" in str(error):  # whatever else is wrong with it, it was sent so
            raise TeacherError(_CUT) from None


def _announced(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Return the announced length of a response's body, None without one."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _written(chunks: Iterable[bytes], size: int, *, stream: bool) -> int:
    """Estimate the bytes of text in an answer that cannot be read as a whole, of ``size`` bytes.

    Most of a stream's bytes are the same in all its events. The bytes that an event has more than
    the shortest are text, and each event is at least one token.
    """
    events = sse_data(b"".join(chunks)) if stream else ()
    sizes = [len(event) for event in events if event.startswith(b"{")]
    if not sizes:
        return size
    shortest = min(sizes)
    return sum(max(chunk_size - shortest, BYTES_A_TOKEN) for chunk_size in sizes)
