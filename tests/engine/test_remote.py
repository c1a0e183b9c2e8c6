"""Writers of engines elsewhere: our own for real, vLLM and SGLang by what they document."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openwheel.engine.base import load_base
from openwheel.engine.engine import Engine
from openwheel.engine.server import engine_thread
from openwheel.errors import EngineError, SettingError
from openwheel.inference import Ask, Constraint
from openwheel.inference.remote import RemoteWriter
from openwheel.wire import PromptMessage

SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'


def ask(text="the bank card", **more):
    return Ask(
        messages=(PromptMessage("system", "please help"), PromptMessage("user", text)),
        **{"model": "tiny", "max_tokens": 12, **more},
    )


@pytest.fixture(scope="module")
def engine(model_folder):
    with Engine(load_base(str(model_folder), device="cpu"), name="tiny") as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine):
    with engine_thread(engine, adapters=True) as url:
        yield url


@pytest.mark.parametrize("dialect", ["openwheel", "vllm"])
def test_an_engine_in_another_process_writes_what_one_in_this_does(engine, url, dialect):
    asks = [
        *(ask(text) for text in ("the bank card", "billing", "naïve 日本語")),
        ask(constraint=Constraint(choices=("billing", "shipping"))),
        ask(constraint=Constraint(regex="[a-c]{3}")),
        ask(constraint=Constraint(json_schema=SCHEMA), max_tokens=200),
        ask(stop=("a", "e")),
    ]
    with contextlib.closing(RemoteWriter(f"{url}/v1", dialect=dialect)) as writer:
        assert writer.models() == ["tiny"]
        for there, here in zip(writer.write(asks), engine.write(asks), strict=True):
            assert (there.text, there.reasoning, there.finish) == (here.text, "", here.finish)
            assert there.prompt_tokens == here.prompt_tokens
            assert there.completion_tokens == here.completion_tokens
            # The API's own form leaves out the token that ended the answer.
            size = len(there.logprobs)
            assert size >= len(here.logprobs) - (dialect == "vllm")
            assert there.logprobs == pytest.approx(here.logprobs[:size], abs=1e-3)
            assert there.margins == pytest.approx(here.margins[:size], abs=1e-3)


def test_many_threads_share_a_writer(engine, url):
    words = ["billing", "shipping", "returns"] * 8
    with contextlib.closing(RemoteWriter(url, connections=6)) as writer:
        asks = [ask(constraint=Constraint(choices=(word,))) for word in words]
        assert [written.text for written in writer.write(asks)] == words


def test_what_the_engine_refuses_is_an_error_with_its_reason(url, tmp_path):
    with contextlib.closing(RemoteWriter(url)) as writer:
        with pytest.raises(EngineError, match=r"status 404: The model 'x' is not served here"):
            writer.write([ask(model="x")])
        with pytest.raises(EngineError, match=r"status 400: .*cannot be kept to the form"):
            writer.write([ask(constraint=Constraint(regex="(?=a)"))] * 2)
        with pytest.raises(EngineError, match=r"status 400: .*has no adapter_config\.json"):
            writer.load_adapter("task", tmp_path)
        assert writer.write([ask()])[0].prompt_tokens > 0


def test_an_engine_that_is_not_there_is_an_error(engine):
    with engine_thread(engine) as url:
        writer = RemoteWriter(url, timeout=5)
        assert writer.write([ask()])
    with contextlib.closing(writer), pytest.raises(EngineError, match=r"cannot be reached"):
        writer.write([ask()])


def test_a_url_and_a_key_must_be_what_they_must_be(url):
    with pytest.raises(SettingError, match=r"must be http://\.\.\. or https://"):
        RemoteWriter("localhost:8000")
    with pytest.raises(SettingError, match="OPENWHEEL_NO_SUCH_KEY holds no key"):
        RemoteWriter(url, key_env="OPENWHEEL_NO_SUCH_KEY")


class Documented(ThreadingHTTPServer):
    """Answers as another server documents that it does, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body))
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        status, answer = self.server.answers.get(self.path, (404, {"detail": "Not Found"}))
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:

        def start(answers):
            server = stack.enter_context(Documented(answers))
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


def token(text, logprob, *others):
    top = [{"token": text, "logprob": logprob, "bytes": list(text.encode())}]
    top += [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in others]
    top.sort(key=lambda one: -one["logprob"])
    return {**top[[o["token"] for o in top].index(text)], "top_logprobs": top[:2]}


ANSWER = {
    "choices": [
        {
            "message": {"content": "yes", "reasoning_content": None},
            "finish_reason": "stop",
            "logprobs": {
                # The second was forced by a form: both of the top are others.
                "content": [
                    token("y", -0.1, ("n", -2.1)),
                    {
                        **token("es", -5.0),
                        "top_logprobs": token("x", -0.5, ("z", -1.0))["top_logprobs"],
                    },
                ]
            },
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3},
}


def test_vllm_is_asked_as_it_documents(serve, tmp_path):
    loaded = "Success: LoRA adapter 'task' added successfully."
    server = serve(
        {
            "/v1/chat/completions": (200, ANSWER),
            "/v1/load_lora_adapter": (200, loaded),
            "/v1/unload_lora_adapter": (200, loaded),
        }
    )
    with contextlib.closing(RemoteWriter(server.url, dialect="vllm")) as writer:
        writer.load_adapter("task", tmp_path)
        asked = ask(model="task", constraint=Constraint(choices=("yes", "no")), stop=("\n",))
        (written,) = writer.write([asked])
        writer.unload_adapter("task")
    assert written.logprobs == (-0.1, -5.0)
    assert written.margins == pytest.approx((2.0, -4.5))
    assert (written.text, written.prompt_tokens, written.completion_tokens) == ("yes", 9, 3)
    (load, chat, unload) = server.asked
    assert load == (
        "/v1/load_lora_adapter",
        {"lora_name": "task", "lora_path": str(tmp_path)},
    )
    assert unload == ("/v1/unload_lora_adapter", {"lora_name": "task"})
    body = chat[1]
    assert body["model"] == "task"
    assert body["structured_outputs"] == {"choice": ["yes", "no"]}
    assert (body["logprobs"], body["top_logprobs"], body["temperature"]) == (True, 2, 0)
    assert body["stop"] == ["\n"]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_sglang_is_asked_as_it_documents(serve, tmp_path):
    server = serve(
        {
            "/v1/models": (
                200,
                {"data": [{"id": "base/model"}, {"id": "t", "parent": "base/model"}]},
            ),
            "/v1/chat/completions": (200, ANSWER),
            "/load_lora_adapter": (200, {"success": True, "loaded_adapters": {"task": "x"}}),
            "/unload_lora_adapter": (200, {"success": False, "error_message": "no such adapter"}),
        }
    )
    with contextlib.closing(RemoteWriter(server.url, dialect="sglang")) as writer:
        writer.load_adapter("task", tmp_path)
        writer.write([ask(model="task", constraint=Constraint(choices=("yes (now)", "no")))])
        writer.write([ask(model="base/model", constraint=Constraint(json_schema=SCHEMA))])
        with pytest.raises(EngineError, match="no such adapter"):
            writer.unload_adapter("task")
    load, first, second, _ = server.asked
    assert load == ("/load_lora_adapter", {"lora_name": "task", "lora_path": str(tmp_path)})
    # By its own name it would be answered by the base, without a word.
    assert first[1]["model"] == "base/model:task"
    assert first[1]["regex"] == r"(yes \(now\)|no)"
    assert second[1]["model"] == "base/model"
    assert second[1]["response_format"]["json_schema"]["schema"] == json.loads(SCHEMA)


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (200, "<html>", "answered with no chat completion"),
        (200, {"choices": []}, "a completion that has no choices"),
        (200, {"choices": [{"message": {"content": "a"}}]}, "gave no log-probabilities"),
        (500, {"error": {"message": "out of memory"}}, "status 500: out of memory"),
        (401, "no key", "status 401: no key"),
    ],
)
def test_an_answer_that_is_none_is_an_error(serve, status, answer, message):
    server = serve({"/v1/chat/completions": (status, answer)})
    with (
        contextlib.closing(RemoteWriter(server.url, dialect="vllm")) as writer,
        pytest.raises(EngineError, match=message),
    ):
        writer.write([ask()])
