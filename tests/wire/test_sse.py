import pytest

from openwheel.wire import sse_data


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_ending(end):
    stream = end.join([b": comment", b"event: x", b"data: 1", b"id: 7", b"", b"data:2", b"", b""])
    assert list(sse_data(stream)) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b": ping\n\n", []),
        (b"data\n\ndata:\n\ndata: \n\n", []),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data: a\n", [b"a"]),
        (b"data: a", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"database: a\n\n", []),
        (b"data: \xe2\x80\xa8\x0b\x0c\x1c\n\n", [b"\xe2\x80\xa8\x0b\x0c\x1c"]),
    ],
)
def test_events(stream, data):
    assert list(sse_data(stream)) == data
