"""Writes and reads Openwheel's own log: exchanges a line each, with all that the store has.

Read back, they are what they were, their ids included.
"""

from typing import Final

import msgspec

from openwheel.importing.values import UnreadableRecordError
from openwheel.store.exchange import Exchange

MARK: Final = "openwheel"
"""The key by which a line is known; its value is the version of the format."""

VERSION: Final = 1
NAME: Final = "Openwheel"
_CONTROL: Final = bytes(range(32))


class _Line(msgspec.Struct, omit_defaults=True):
    """A line: the exchange without its request, and the request as JSON, or as text."""

    openwheel: int
    exchange: Exchange
    request: msgspec.Raw = msgspec.Raw(b"null")
    request_text: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)
_any = msgspec.json.Decoder()


def line_of(exchange: Exchange) -> bytes:
    """Return an exchange as a line without its end.

    The request stands in it as JSON, byte for byte, where it is JSON on one line.

    Raises:
        UnicodeDecodeError: The request is no text in UTF-8.
    """
    request = exchange.request
    line = _Line(VERSION, msgspec.structs.replace(exchange, request=b""))
    try:
        _any.decode(request)
        plain = request == request.translate(None, _CONTROL) and request == request.strip()
    except (msgspec.DecodeError, RecursionError):
        plain = False
    if plain:
        line.request = msgspec.Raw(request)
    else:
        line.request_text = request.decode()
    return _encoder.encode(line)


def exchange_in(raw: bytes) -> Exchange:
    """Return the exchange of a line.

    Raises:
        UnreadableRecordError: It is none, or of a later version.
    """
    try:
        line = _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableRecordError(f"a line of Openwheel's own is damaged: {error}") from None
    if line.openwheel != VERSION:
        raise UnreadableRecordError(
            f"a line of Openwheel's own is of version {line.openwheel}; this reads {VERSION}"
        )
    text = line.request_text
    request = bytes(line.request) if text is None else text.encode()
    return msgspec.structs.replace(line.exchange, request=request)
