import pytest

from openwheel.wire import TEXT_APIS, bare_id, read_reply_id, sse_data
from wire.contract import ask


@pytest.mark.parametrize("api", TEXT_APIS.values(), ids=TEXT_APIS)
def test_an_answer_can_be_given_an_id_and_found_by_it(api):
    request = ask(api)
    whole = read_reply_id([api.body("x", request, identity="0123")])
    stream = read_reply_id(sse_data(b"".join(api.events("x", request, identity="0123"))))
    assert whole == stream
    assert whole != bare_id(whole) == "0123"
    assert read_reply_id([api.body("x", request)]) != read_reply_id([api.body("x", request)])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"id": 5}', b'{"id": "\xc3\xa9"}', b'{"id": ""}', b"\xff", b"[" * 9_999]
)
def test_what_has_no_usable_id_has_none(body):
    assert read_reply_id([body]) == ""
