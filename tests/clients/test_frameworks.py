"""LangChain, LlamaIndex and LiteLLM, unchanged: the teacher's answers and a student's.

The last two take many seconds to be imported, and are evidence.
"""

import pytest

from clients.live import STUDENT, TEACHER

VECTORS = [[0.5, -0.25, 0.125]] * 2
CALL = ["find_parcel", {"id": 7}]


@pytest.fixture(scope="module")
def langchain(run_client):
    return run_client("langchain_clients.py", "langchain")["teacher"]


@pytest.fixture(scope="module")
def langchain_student(run_client):
    return run_client("langchain_clients.py", "langchain")["student"]


@pytest.fixture(scope="module")
def llamaindex(run_client):
    return run_client("llamaindex_clients.py", "llamaindex")["teacher"]


@pytest.fixture(scope="module")
def llamaindex_student(run_client):
    return run_client("llamaindex_clients.py", "llamaindex")["student"]


@pytest.fixture(scope="module")
def litellm(run_client):
    return run_client("litellm_client.py", "litellm")["teacher"]


@pytest.fixture(scope="module")
def litellm_student(run_client):
    return run_client("litellm_client.py", "litellm")["student"]


@pytest.mark.parametrize(
    ("fixture", "source", "text", "tokens"),
    [("langchain", "teacher", TEACHER, 18), ("langchain_student", "student", STUDENT, 0)],
)
def test_langchain_chat(request, fixture, source, text, tokens):
    seen = request.getfixturevalue(fixture)
    assert seen["chat"] == {
        "text": text,
        "tokens": tokens,
        "source": source,
        "streamed": text,
        "streamed_finish": "stop",
        "streamed_tokens": tokens,
    }
    assert seen["asynchronous"] == [text, text]


def test_langchain_structured_output(langchain, langchain_student):
    assert langchain["structured"] == {"json_schema": "delivery"}
    assert langchain_student["structured"] == {"json_schema": STUDENT}


def test_langchain_tools(langchain):
    assert langchain["tools"] == {"whole": [CALL], "streamed": [CALL]}
    assert langchain["claude_tools"] == [CALL]


def test_langchain_other_apis(langchain):
    assert langchain["responses"] == {"text": TEACHER, "streamed": TEACHER}
    assert langchain["completions"] == {"text": TEACHER, "streamed": TEACHER}
    assert langchain["embeddings"] == VECTORS
    assert langchain["claude"] == {"text": TEACHER, "tokens": 18, "streamed": TEACHER}


def test_langchain_errors(langchain):
    assert langchain["errors"] == {
        "error-429": "OpenAIRateLimitError",
        "cut": "OpenAIConnectionError",
    }


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("fixture", "text"), [("llamaindex", TEACHER), ("llamaindex_student", STUDENT)]
)
def test_llamaindex_chat(request, fixture, text):
    seen = request.getfixturevalue(fixture)
    keys = ("text", "streamed", "complete", "stream_complete")
    assert seen["chat"] == dict.fromkeys(keys, text)
    assert seen["asynchronous"] == [text, text]


@pytest.mark.evidence
def test_llamaindex_other_apis(llamaindex):
    assert llamaindex["completions"] == dict.fromkeys(("text", "streamed", "chat"), TEACHER)
    assert llamaindex["tools"] == {"name": CALL[0], "arguments": CALL[1]}
    assert llamaindex["embeddings"] == VECTORS


@pytest.mark.evidence
def test_llamaindex_errors(llamaindex):
    assert llamaindex["errors"] == {"error-400": "BadRequestError", "cut": "RemoteProtocolError"}


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("fixture", "source", "text", "tokens"),
    [("litellm", "teacher", TEACHER, 18), ("litellm_student", "student", STUDENT, 0)],
)
def test_litellm_chat(request, fixture, source, text, tokens):
    seen = request.getfixturevalue(fixture)
    assert seen["chat"] == {
        "text": text,
        "tokens": tokens,
        "source": source,
        "streamed": text,
        "finish": ["stop"],
        "usages": [tokens],
    }
    assert seen["asynchronous"] == text


@pytest.mark.evidence
def test_litellm_other_apis(litellm):
    call = ["find_parcel", '{"id": 7}']
    assert litellm["tools"] == {"whole": call, "streamed": call}
    last = "response.completed"
    assert litellm["responses"] == {"text": TEACHER, "last": last, "streamed": TEACHER}
    assert litellm["completions"] == {"text": TEACHER, "streamed": TEACHER}
    assert litellm["messages"] == TEACHER
    assert litellm["embeddings"] == VECTORS


@pytest.mark.evidence
def test_litellm_errors(litellm):
    assert litellm["errors"] == {
        "429": {"class": "RateLimitError", "status": 429},
        "400": {"class": "BadRequestError", "status": 400},
        "cut stream": {"class": "MidStreamFallbackError", "status": 500},
    }


def test_langchain_student_on_other_apis(langchain_student):
    assert langchain_student["responses"] == {"text": STUDENT, "streamed": STUDENT}
    assert langchain_student["completions"] == {"text": STUDENT, "streamed": STUDENT}
    assert langchain_student["claude"] == {"text": STUDENT, "tokens": 0, "streamed": STUDENT}


@pytest.mark.evidence
def test_llamaindex_student_on_other_apis(llamaindex_student):
    assert llamaindex_student["completions"] == dict.fromkeys(("text", "streamed", "chat"), STUDENT)


@pytest.mark.evidence
def test_litellm_student_on_other_apis(litellm_student):
    last = "response.completed"
    assert litellm_student["responses"] == {"text": STUDENT, "last": last, "streamed": STUDENT}
    assert litellm_student["completions"] == {"text": STUDENT, "streamed": STUDENT}
    assert litellm_student["messages"] == STUDENT


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("script", "client"),
    [
        ("langchain_clients.py", "langchain"),
        ("llamaindex_clients.py", "llamaindex"),
        ("litellm_client.py", "litellm"),
    ],
)
def test_they_see_what_they_would_without_a_gateway(same_without_a_gateway, script, client):
    same_without_a_gateway(script, client)
