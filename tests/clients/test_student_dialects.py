"""A student's answers on the APIs other than chat completions, as real clients read them."""

import pytest

from clients.live import STUDENT, TEACHER

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def openai(run_client):
    return run_client("openai_sdk.py", "official")["student"]


@pytest.fixture(scope="module")
def anthropic(run_client):
    return run_client("anthropic_sdk.py", "official")["student"]


@pytest.fixture(scope="module")
def node(run_client):
    return run_client("node_clients.mjs", "node")["student"]


@pytest.fixture(scope="module")
def langchain(run_client):
    return run_client("langchain_clients.py", "langchain")["student"]


@pytest.fixture(scope="module")
def llamaindex(run_client):
    return run_client("llamaindex_clients.py", "llamaindex")["student"]


@pytest.fixture(scope="module")
def litellm(run_client):
    return run_client("litellm_client.py", "litellm")["student"]


def test_openai_responses(openai):
    seen = openai["responses"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert seen["headers"]["x-request-id"]
    assert (seen["text"], seen["as_messages"]) == (STUDENT, STUDENT)
    assert seen["kept"] == TEACHER
    assert (seen["status"], seen["model"], seen["tokens"]) == ("completed", "big", 0)
    assert seen["parsed"] == STUDENT


def test_openai_responses_streamed(openai):
    seen = openai["responses_stream"]
    assert seen["kinds"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert seen["numbers"] == list(range(9))
    assert (seen["text"], seen["final"], seen["status"]) == (STUDENT, STUDENT, "completed")
    assert seen["parsed"] == STUDENT


def test_openai_legacy_completions(openai):
    seen = openai["completions"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert (seen["text"], seen["finish"], seen["tokens"]) == (STUDENT, "stop", 0)
    assert (seen["streamed"], seen["streamed_finish"]) == (STUDENT, "stop")
    assert (seen["unasked"], seen["usages"]) == ([], [0])


def test_anthropic_messages(anthropic):
    seen = anthropic["message"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert seen["headers"]["request-id"]
    assert (seen["text"], seen["stop"], seen["model"]) == (STUDENT, "end_turn", "big")
    assert seen["tokens"] == [0, 0]
    assert anthropic["concurrent"] == [STUDENT]


def test_anthropic_messages_streamed(anthropic):
    seen = anthropic["stream"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert seen["kinds"] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (seen["text"], seen["final"], seen["stop"]) == (STUDENT, STUDENT, "end_turn")
    assert seen["tokens"] == [0, 0]


def test_node(node):
    last = "response.completed"
    assert node["responses"] == {"text": STUDENT, "last": last, "streamed": STUDENT}
    assert node["completions"] == {"text": STUDENT, "streamed": STUDENT}
    assert node["messages"] == {"text": STUDENT, "streamed": STUDENT, "stop": "end_turn"}


def test_langchain(langchain):
    assert langchain["responses"] == {"text": STUDENT, "streamed": STUDENT}
    assert langchain["completions"] == {"text": STUDENT, "streamed": STUDENT}
    assert langchain["claude"] == {"text": STUDENT, "tokens": 0, "streamed": STUDENT}


def test_llamaindex(llamaindex):
    assert llamaindex["completions"] == dict.fromkeys(("text", "streamed", "chat"), STUDENT)


def test_litellm(litellm):
    last = "response.completed"
    assert litellm["responses"] == {"text": STUDENT, "last": last, "streamed": STUDENT}
    assert litellm["completions"] == {"text": STUDENT, "streamed": STUDENT}
    assert litellm["messages"] == STUDENT
