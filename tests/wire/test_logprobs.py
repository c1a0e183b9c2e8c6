import json
import math

import pytest

from openwheel.wire.chat import read_reply, read_reply_stream
from openwheel.wire.logprobs import LEAST, MOST_TOKENS, read_logprobs
from openwheel.wire.responses import read_response, read_response_stream


def token(*texts_and_chances):
    """A token that was written, and those that might have been, with their probabilities."""
    shown = [{"token": text, "logprob": math.log(p)} for text, p in texts_and_chances]
    return {**shown[0], "bytes": None, "top_logprobs": shown}


BILLING = [token(("b", 0.6), ("tech", 0.3), ("o", 0.1)), token(("illing", 0.9), ("ug", 0.1))]
EXPECTED = {"billing": 0.54, "tech…": 0.3, "o…": 0.1, "bug…": 0.06}


def as_read(probabilities):
    return {text: pytest.approx(chance) for text, chance in probabilities}


def test_beginnings_exclude_one_another():
    found = read_logprobs("billing", BILLING)
    assert as_read(found) == EXPECTED
    assert found[0][0] == "billing"
    assert sum(chance for _, chance in found) == pytest.approx(1.0)


def test_a_chat_completion_and_its_stream_are_read_alike():
    choice = {"message": {"content": "billing"}, "finish_reason": "stop"}
    whole = {"choices": [{**choice, "logprobs": {"content": BILLING, "refusal": None}}]}
    answer = read_reply(json.dumps(whole).encode()).answer
    assert as_read(answer.probabilities) == EXPECTED
    pieces = [("b", BILLING[:1]), ("illing", BILLING[1:])]
    chunks = [
        {"choices": [{"delta": {"content": text}, "logprobs": {"content": tokens}}]}
        for text, tokens in pieces
    ]
    chunks.append({"choices": [{"delta": {}, "logprobs": None, "finish_reason": "stop"}]})
    streamed = read_reply_stream([json.dumps(chunk).encode() for chunk in chunks]).answer
    assert streamed == answer


def test_a_response_and_its_stream_are_read_alike():
    part = {"type": "output_text", "text": "billing", "annotations": [], "logprobs": BILLING}
    response = {"output": [{"type": "message", "content": [part]}], "status": "completed"}
    answer = read_response(json.dumps(response).encode()).answer
    assert as_read(answer.probabilities) == EXPECTED
    end = {"type": "response.completed", "response": response}
    assert read_response_stream([json.dumps(end).encode()]).answer == answer


def test_a_long_answer_is_a_beginning_too():
    tokens = [token((f"w{i} ", 0.99), ("x", 0.01)) for i in range(MOST_TOKENS + 5)]
    text = "".join(f"w{i} " for i in range(MOST_TOKENS + 5))
    found = dict(read_logprobs(text, tokens))
    (most,) = [key for key, chance in found.items() if chance > 0.5]
    assert most.startswith("w0 w1 ")
    assert most.endswith(f"w{MOST_TOKENS - 1} …")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("billing", []),
        ("other", BILLING),  # not the tokens of this text
        ("billing now", BILLING),
        ("b", "no list"),
        ("b", [{"token": "b"}]),
        ("b", [{"token": None, "logprob": 0}]),
        ("b", [7]),
    ],
)
def test_what_cannot_be_read_is_left_out(text, tokens):
    assert read_logprobs(text, tokens) == ()
    reply = {"choices": [{"message": {"content": text}, "logprobs": {"content": tokens}}]}
    assert read_reply(json.dumps(reply).encode()).answer.text == text


def test_servers_that_say_minus_9999_and_tiny_probabilities():
    written = {"token": "a", "logprob": 0.0}
    others = [{"token": "b", "logprob": -9999.0}, {"token": "c", "logprob": math.log(LEAST / 2)}]
    assert read_logprobs("a", [{**written, "top_logprobs": [written, *others]}]) == (("a", 1.0),)
