"""Writers of servers elsewhere: llama.cpp for real, vLLM and SGLang by what they document."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from inference.served import front_thread, gguf_of
from openwheel.errors import EngineError, RequestError, SettingError
from openwheel.inference import Ask, Constraint
from openwheel.inference.remote import RemoteWriter
from openwheel.inference.writer import Prompt
from openwheel.wire import PromptMessage

CHOICE = 'ship/ping "now"\n'
SCHEMA = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'


def ask(text="the bank card", **more):
    written = f"system\nplease help<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n"
    return Ask(
        messages=(PromptMessage("system", "please help"), PromptMessage("user", text)),
        prompt=Prompt(f"{written}<|im_start|>assistant\n", 1),
        **{"model": "tiny", "max_tokens": 12, **more},
    )


@pytest.fixture(scope="module")
def url(model_folder):
    with front_thread(gguf_of(model_folder)) as (_, url):
        yield url


def test_llama_cpp_keeps_answers_within_their_constraints_and_scores_each_token(url):
    with contextlib.closing(RemoteWriter(f"{url}/v1")) as writer:
        assert writer.models() == ["tiny"]
        free, chosen, matched, record, stopped = writer.write(
            [
                ask(),
                ask(constraint=Constraint(choices=("billing", "bill", CHOICE)), max_tokens=40),
                ask(constraint=Constraint(regex="[a-c]{3}/x")),
                ask(constraint=Constraint(json_schema=SCHEMA), max_tokens=200),
                ask(stop=("a", "e", "i", "o", "u", "t", "n", "s", "r", " ")),
            ]
        )
    assert free.finish == "stop" or free.completion_tokens == 12
    assert chosen.text in {"billing", "bill", CHOICE}
    assert matched.text[3:] == "/x"
    assert set(matched.text[:3]) <= set("abc")
    assert record.finish == "length" or isinstance(json.loads(record.text)["a"], int)
    assert not set(stopped.text) & set("aeioutnsr ")
    assert chosen.finish == "stop"
    for written in (chosen, matched):
        assert written.prompt_tokens == free.prompt_tokens
        assert len(written.logprobs) == len(written.margins) == written.completion_tokens
        # The model's own: what a form forced upon it was not likely.
        assert min(written.margins) < 0
        assert max(written.logprobs) < 0


def test_many_threads_share_a_writer(url):
    words = ["billing", "shipping", "returns"] * 8
    with contextlib.closing(RemoteWriter(url, connections=6)) as writer:
        asks = [ask(constraint=Constraint(choices=(word,))) for word in words]
        assert [written.text for written in writer.write(asks)] == words


def test_what_the_server_refuses_is_an_error_with_its_reason(url, tmp_path):
    with contextlib.closing(RemoteWriter(url)) as writer:
        with pytest.raises(EngineError, match=r"status 404: The model 'x' is not served here"):
            writer.write([ask(model="x")])
        with pytest.raises(RequestError, match=r"exceeds the available context size"):
            writer.write([ask("the bank card " * 300)])
        with pytest.raises(EngineError, match=r"status 400: .*has no adapter\.gguf"):
            writer.load_adapter("task", tmp_path)
        with pytest.raises(RequestError, match="one form at most"):
            writer.write([ask(constraint=Constraint(choices=("a",), regex="a"))])
        assert writer.write([ask()])[0].prompt_tokens > 0


def test_a_server_that_is_not_there_is_an_error(model_folder):
    with front_thread(gguf_of(model_folder)) as (_, url):
        writer = RemoteWriter(url, timeout=5)
        assert writer.write([ask()])
    with contextlib.closing(writer), pytest.raises(EngineError, match=r"cannot be reached"):
        writer.write([ask()])


def test_a_url_and_a_key_must_be_what_they_must_be(url):
    with pytest.raises(SettingError, match=r"must be http://\.\.\. or https://"):
        RemoteWriter("localhost:8000")
    with pytest.raises(SettingError, match="OPENWHEEL_NO_SUCH_KEY holds no key"):
        RemoteWriter(url, key_env="OPENWHEEL_NO_SUCH_KEY")


THOUGHT = {
    "content": "so\n</think>\n\nbilling",
    "stop_type": "eos",
    "tokens_evaluated": 9,
    "tokens_predicted": 5,
    "completion_probabilities": [
        {"id": at, "logprob": -float(at), "bytes": list(text.encode()), "top_logprobs": []}
        for at, text in enumerate(["so\n", "</think>", "\n\n", "bill", "ing", ""])
    ],
}


def test_a_thought_is_told_from_the_answer_and_scores_are_the_answers(serve):
    server = serve({"/completion": (200, THOUGHT)})
    constraint = Constraint(choices=("billing", "bill"))
    thinks = ask(constraint=constraint)
    prompt = Prompt("x", None, after="</think>")
    with contextlib.closing(RemoteWriter(server.url)) as writer:
        (found,) = writer.write([Ask(model="m", messages=(), prompt=prompt, constraint=constraint)])
        assert (found.text, found.reasoning, found.finish) == ("billing", "so", "stop")
        assert found.logprobs == (-2.0, -3.0, -4.0, -5.0)
        cut = {**THOUGHT, "content": "so on and", "stop_type": "limit"}
        server.answers["/completion"] = (200, cut)
        (found,) = writer.write([Ask(model="m", messages=(), prompt=prompt, constraint=constraint)])
        assert (found.text, found.finish) == ("", "length")
        server.answers["/completion"] = (200, {**THOUGHT, "content": "shipping"})
        # llama.cpp passes over a grammar that it cannot read.
        record = Constraint(json_schema=SCHEMA)
        for asked in (thinks, msgspec.structs.replace(thinks, constraint=record)):
            with pytest.raises(EngineError, match="keep an answer within its form: 'shipping'"):
                writer.write([asked])
    (body, *_) = (body for _, body in server.asked)
    assert body["prompt"] == "x"
    assert "</think>" not in body["grammar"]  # its signs are no signs of the grammar's
    assert "start: thought SPACE? ANSWER" in body["grammar"]


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
