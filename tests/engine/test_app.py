"""The HTTP API as clients meet it: real requests on loopback, and the official SDK."""

import contextlib
import http.client
import json
import threading
import time

import openai
import pytest

from engine.tiny import CHATML, save_tiny, tiny_tokenizer
from openwheel.engine.app import MOST_BODY
from openwheel.engine.base import load_base
from openwheel.engine.engine import Engine, EngineLimits
from openwheel.engine.server import engine_thread

TOOLS_TEMPLATE = (
    "{% if tools %}Tools: <tool_call>{{ tools | tojson }}</tool_call>{% endif %}" + CHATML
)
LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup",
        "parameters": {
            "type": "object",
            "properties": {"id": {"enum": ["7", "8"]}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
}
HELLO = [{"role": "user", "content": "the bank card"}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    tokenizer = tiny_tokenizer(TOOLS_TEMPLATE)
    folder = save_tiny(tmp_path_factory.mktemp("app"), tokenizer=tokenizer)
    limits = EngineLimits(max_queue=40)
    with Engine(load_base(str(folder), device="cpu"), name="tiny", limits=limits) as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine):
    with engine_thread(engine) as url:
        yield url


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def post(url, path, body, *, content_type="application/json"):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, data, {"content-type": content_type})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_models_are_listed_and_looked_up(client):
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("tiny", "openwheel")
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_a_stream_spells_what_the_whole_answer_says(client):
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    chunks = list(
        client.chat.completions.create(
            **asked,
            logprobs=True,
            top_logprobs=3,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(c.delta.content or "" for c in choices) == whole.choices[0].message.content
    assert [c.finish_reason for c in choices if c.finish_reason] == [whole.choices[0].finish_reason]
    tokens = [token for c in choices if c.logprobs for token in c.logprobs.content]
    said = whole.choices[0].logprobs.content
    assert [(one.token, one.bytes) for one in tokens] == [(one.token, one.bytes) for one in said]
    # The second time the prompt is known: it is read otherwise, and rounded otherwise.
    assert [one.logprob for one in tokens] == pytest.approx([one.logprob for one in said], abs=1e-3)
    assert all(len(token.top_logprobs) == 3 for token in tokens)
    assert tokens[0].token == tokens[0].top_logprobs[0].token  # greedy
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens >= len(tokens)


def test_choices_are_drawn_apart_and_a_seed_repeats_them(client):
    asked = {"model": "tiny", "messages": HELLO, "max_tokens": 8, "n": 3, "seed": 5}
    first = client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in first.choices]
    assert len(set(texts)) > 1
    again = client.chat.completions.create(**asked)
    assert [choice.message.content for choice in again.choices] == texts
    streamed = dict.fromkeys(range(3), "")
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert list(streamed.values()) == texts


@pytest.mark.parametrize(
    "form",
    [
        {"structured_outputs": {"choice": ["billing", "shipping"]}},
        {"structured_outputs": {"regex": "billing|shipping"}},
        {"regex": "billing|shipping"},
        {"structured_outputs": {"json": {"enum": ["billing", "shipping"]}}},
        {"json_schema": json.dumps({"enum": ["billing", "shipping"]})},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"enum": ["billing", "shipping"]}},
            }
        },
    ],
    ids=lambda form: "-".join([*form, *(list(next(iter(form.values()))) if form else [])])[:40],
)
def test_an_answer_has_the_form_that_was_asked_for(client, form):
    answer = client.chat.completions.create(model="tiny", messages=HELLO, extra_body=form)
    assert answer.choices[0].message.content.strip('"') in {"billing", "shipping"}
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "lookup"}}]
)
def test_a_tool_call_that_is_required_is_made(client, choice, stream):
    asked = {"model": "tiny", "messages": HELLO, "tools": [LOOKUP], "tool_choice": choice}
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        (call,) = [
            call for c in chunks if c.choices for call in c.choices[0].delta.tool_calls or []
        ]
        finish = chunks[-1].choices[0].finish_reason
    else:
        (answer,) = client.chat.completions.create(**asked).choices
        (call,) = answer.message.tool_calls
        finish = answer.finish_reason
        assert answer.message.content is None
    assert (call.function.name, finish) == ("lookup", "tool_calls")
    assert json.loads(call.function.arguments)["id"] in {"7", "8"}


def test_a_conversation_with_tool_calls_and_parts_is_read(client):
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "lookup", "arguments": '{"id":"7"}'},
    }
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "please help"}]},
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "lost"},
    ]
    answer = client.chat.completions.create(
        model="tiny", messages=messages, tools=[LOOKUP], max_tokens=4
    )
    assert answer.usage.completion_tokens == 4


def test_stop_texts_are_not_part_of_the_answer(client):
    form = {"structured_outputs": {"regex": "yes, no, other"}}
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, stop=[", other"], extra_body=form
    )
    assert answer.choices[0].message.content == "yes, no"
    assert answer.choices[0].finish_reason == "stop"


def test_texts_are_continued(client):
    asked = {"model": "tiny", "temperature": 0, "max_tokens": 6}
    two = client.completions.create(prompt=["the bank", "billing"], logprobs=2, **asked)
    assert [choice.index for choice in two.choices] == [0, 1]
    assert len(two.choices[0].logprobs.token_logprobs) <= 6
    chunks = list(client.completions.create(prompt="the bank", stream=True, **asked))
    assert "".join(c.choices[0].text for c in chunks) == two.choices[0].text
    tokens = tiny_tokenizer()("the bank")["input_ids"]
    assert client.completions.create(prompt=tokens, **asked).choices[0].text == two.choices[0].text


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"{", 400, None, "not a chat completion request"),
        ({"messages": []}, 400, None, "no messages"),
        ({"messages": HELLO, "model": "x"}, 404, "model_not_found", "'x' is not served"),
        (
            {"messages": [{"role": "user", "content": "the bank card " * 500}]},
            400,
            "context_length_exceeded",
            "must have 1 to 1023 tokens",
        ),
        ({"messages": HELLO, "temperature": 9}, 400, None, "temperature must be 0 to 2"),
        ({"messages": HELLO, "top_p": 0}, 400, None, "top_p must be above 0"),
        ({"messages": HELLO, "n": 0}, 400, None, "n must be 1 to 128"),
        ({"messages": HELLO, "n": 100}, 429, "engine_full", "try again later"),
        ({"messages": HELLO, "max_tokens": 0}, 400, None, "max_tokens must be at least 1"),
        ({"messages": HELLO, "top_logprobs": 21}, 400, None, "top_logprobs must be 0 to 20"),
        ({"messages": HELLO, "regex": "(?=a)"}, 400, None, "cannot be kept to the form"),
        (
            {"messages": HELLO, "regex": "a", "structured_outputs": {"choice": ["a"]}},
            400,
            None,
            "one form of the answer",
        ),
        ({"messages": HELLO, "response_format": {"type": "xml"}}, 400, None, "was 'xml'"),
        ({"messages": HELLO, "tool_choice": "required"}, 400, None, "needs tools"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, None, "text"),
        ({"messages": [{"content": "a"}]}, 400, None, "must have a role"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": 3}]}]},
            400,
            None,
            "must have a function",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(url, body, status, code, message):
    found, said = post(url, "/v1/chat/completions", body)
    assert (found, said["error"]["code"]) == (status, code)
    assert message in said["error"]["message"]


def test_a_body_without_end_is_refused(url):
    status, said = post(url, "/v1/chat/completions", b" " * (MOST_BODY + 1))
    assert (status, said["error"]["code"]) == (413, "request_too_large")


def test_unknown_paths_and_methods_are_errors_of_the_api(url):
    assert post(url, "/v1/other", {})[1]["error"]["message"] == "Not Found"
    assert post(url, "/v1/models", {})[0] == 405


def test_adapters_cannot_be_changed_unless_that_was_allowed(url, engine):
    body = {"lora_name": "a", "lora_path": "/tmp"}
    assert post(url, "/v1/load_lora_adapter", body)[0] == 403
    with engine_thread(engine, adapters=True) as allowed:
        status, said = post(allowed, "/v1/load_lora_adapter", body)
        assert (status, "no adapter_config.json" in said["error"]["message"]) == (400, True)
        # What a page of the web may send without asking first.
        assert post(allowed, "/v1/load_lora_adapter", body, content_type="text/plain")[0] == 415
        assert post(allowed, "/v1/unload_lora_adapter", {"lora_name": "a"})[0] == 400


def wait_for(done, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_is_written_for_no_longer(url, engine, stream):
    # Nothing may end it before its last token.
    body = {"messages": HELLO, "max_tokens": 900, "regex": "(a|b|c){2000}", "stream": stream}
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
    )
    if stream:
        connection.getresponse().read(1)
    wait_for(lambda: engine.counts().running)
    before = engine.counts().tokens
    connection.close()
    wait_for(lambda: not engine.counts().running)
    assert engine.counts().tokens - before < 890


def test_many_clients_at_once_get_each_its_own_answer(client):
    words = ["billing", "shipping", "returns", "other"] * 4
    answers = [""] * len(words)

    def ask(number):
        form = {"structured_outputs": {"choice": [words[number]]}}
        answer = client.chat.completions.create(model="tiny", messages=HELLO, extra_body=form)
        answers[number] = answer.choices[0].message.content

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(words))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == words


def test_health_says_what_runs(url):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        said = json.loads(connection.getresponse().read())
    assert (said["status"], said["models"], said["context"]) == ("ok", ["tiny"], 1024)
    assert said["abilities"] == {"cache": "full", "batch": True, "together": True, "reuse": True}
