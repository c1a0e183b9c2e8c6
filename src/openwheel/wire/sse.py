"""Server-sent events: the payloads of a stream that is already whole.

Source: the HTML Living Standard, section 9.2.6, "Interpreting an event stream".
"""

from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"


def sse_data(body: bytes) -> Iterator[bytes]:
    r"""Yield the ``data`` of each event in ``body``, its lines joined by a newline.

    Lines may end in LF, CRLF or CR; comments, other fields and events without data are passed
    over. One departure from the standard: data that no blank line follows is yielded too, since
    some servers leave out the last one; a payload that was cut short is for its reader to notice.

    >>> list(sse_data(b": hello\r\ndata: 1\r\ndata:2\r\n\r\nevent: x\n\ndata: [DONE]"))
    [b'1\n2', b'[DONE]']
    """
    lines: list[bytes] = []
    for line in [*body.removeprefix(_BOM).splitlines(), b""]:
        if not line:
            if data := b"\n".join(lines):
                yield data
            lines = []
        elif line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])


def is_done(tail: bytes) -> bool:
    """Return whether a stream has ended as most of OpenAI's do, by its last bytes."""
    return b"[DONE]" in tail[-64:]
