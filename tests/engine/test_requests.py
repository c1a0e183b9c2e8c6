"""Whatever a client sends is read or refused with a reason; nothing else escapes."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.tiny import save_tiny, tiny_tokenizer
from openwheel.engine.base import load_base
from openwheel.engine.engine import Engine
from openwheel.engine.requests import read_chat, read_text
from openwheel.errors import RequestError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "function", "name", "arguments", "text", "schema", "choice", "json_schema"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("model", "stream", "stream_options", "n", "max_tokens", "temperature", "top_p", "seed"),
        *("stop", "structured_outputs", "regex", "json_schema", "logprobs", "top_logprobs"),
        *("response_format", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort"),
        *("prompt", "echo", "messages"),
    ]
)
MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "name"]),
        ANYTHING | st.just("user") | st.just("assistant"),
        max_size=4,
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.arguments | tojson }}"
        "</tool_call>{% endfor %}<|im_end|>{% endfor %}{{ tools | tojson }}<think>"
    )
    folder = save_tiny(tmp_path_factory.mktemp("any"), tokenizer=tiny_tokenizer(template))
    with Engine(load_base(str(folder), device="cpu"), name="tiny") as engine:
        yield engine


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(FIELDS, ANYTHING, max_size=5), MESSAGES)
def test_any_request_is_read_or_refused(engine, fields, messages):
    body = json.dumps({"messages": messages, "prompt": "a", **fields}).encode()
    for read in (read_chat, read_text):
        with contextlib.suppress(RequestError):
            for wanted in read(body, engine).wanted:
                assert wanted.prompt.ids
