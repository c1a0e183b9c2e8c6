"""A teacher of chat completions is asked typed questions."""

import json
import math

import pytest

from openwheel.errors import SettingError
from openwheel.processes.teachers import make_teacher
from openwheel.settings import TeacherSection
from openwheel.teachers import ChatDecisions, HttpTeacher
from openwheel.wire import DECISION_APIS
from teacher import respond
from wire.decisions import asking

from .test_decisions import PATHS, answers_in

every_api = pytest.mark.parametrize("name", list(DECISION_APIS))


def completion(text, chances=None):
    """Return a chat completion whose first token has these likeliest others."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    if chances is not None:
        likeliest = [{"token": one, "logprob": math.log(p)} for one, p in chances.items()]
        choice["logprobs"] = {
            "content": [{"token": text, "logprob": -0.1, "top_logprobs": likeliest}]
        }
    usage = {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51}
    body = {"model": "qwen3-4b", "choices": [choice], "usage": usage}
    return json.dumps(body).encode()


@pytest.fixture
def chat(upstream):
    """Answer by what the question is."""
    said = {
        "payment": completion("A", {"A": 0.6, " A": 0.2, "B": 0.1, "The": 0.1}),
        "queue": completion("B", {"B": 0.5, "A": 0.25, "C": 0.25}),
        "urgent": completion("C"),
    }

    async def script(asked, writer):
        question = json.loads(asked.body)["messages"][1]["content"].partition("Question: ")[2]
        writer.write(respond(next(said[word] for word in said if word in question)))

    upstream.answer = script
    return upstream


def through(gateway, upstream):
    return gateway(ChatDecisions(HttpTeacher(upstream.url)))


@every_api
def test_questions_are_chat_completions_whose_logprobs_are_the_probabilities(
    gateway, chat, http, name
):
    running = through(gateway, chat)
    reply = http("POST", running.url + PATHS[name], asking(name, 0, 1))
    paid, queue = answers_in(reply.data, name)
    assert paid["noul" if name == "systemone" else "probability"] == pytest.approx(0.888889)
    assert queue["choice"] == "technical"
    assert queue["confidence"] == 0.5
    body = json.loads(reply.data)
    assert (body["model"], body["usage"]["input_tokens"]) == ("qwen3-4b", 100)
    assert reply.headers["x-openwheel-decisions-from"] == "chat; logprobs"
    asked = json.loads(chat.received[0].body)
    assert (asked["logprobs"], asked["temperature"], asked["model"]) == (True, 0, "m")
    assert asked["messages"][1]["content"] == (
        "I was charged twice. Please help.\n\nQuestion: Is it about a payment?\n\nAnswers:\n"
        "A: yes, it is true\nB: no, it is not true"
    )
    assert "A: billing: Money\nB: technical\nC: other" in json.dumps(
        json.loads(chat.received[1].body)
    ).replace("\\n", "\n")
    kept = running.exchanges(2)
    assert [one.answer.text for one in kept] == ["true", "technical"]
    assert {one.model for one in kept} == {"qwen3-4b"}


@every_api
def test_without_logprobs_the_answer_is_certain_and_said_to_be_no_more(gateway, chat, http, name):
    running = through(gateway, chat)
    reply = http("POST", running.url + PATHS[name], asking(name))
    score = answers_in(reply.data, name)[2]
    assert (score["score"], score["confidence"]) == (2.0, 1.0)
    assert reply.headers["x-openwheel-decisions-from"] == "chat; answer"
    assert running.exchanges(3)[2].answer.probabilities == (("0", 0.0), ("1", 0.0), ("2", 1.0))


def test_a_server_that_takes_no_logprobs_is_asked_without(gateway, upstream, http):
    async def script(asked, writer):
        refused = b"logprobs" in asked.body
        body = b'{"error":{"message":"logprobs"}}' if refused else completion("A")
        writer.write(respond(body, status=400 if refused else 200))

    upstream.answer = script
    running = through(gateway, upstream)
    for _ in range(2):
        reply = http("POST", running.url + PATHS["decisions"], asking("decisions", 0))
        assert json.loads(reply.data)["answers"][0]["probability"] == 1.0
    assert ["logprobs" in asked.body.decode() for asked in upstream.received] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("text", ["", "I think A or B", "Z", "<think>"])
def test_what_is_none_of_the_answers_is_a_refusal(gateway, upstream, http, text):
    upstream.answers(completion(text))
    running = through(gateway, upstream)
    reply = http("POST", running.url + PATHS["decisions"], asking("decisions", 0))
    assert json.loads(reply.data)["answers"] == [{"type": "refusal", "name": "paid"}]
    assert not running.exchanges(1)[0].answer.complete
    other = http("POST", running.url + PATHS["systemone"], asking("systemone", 0))
    assert other.status == 502
    assert "none of the answers to the question 'paid'" in other.data.decode()


def test_more_answers_than_letters_are_numbered(gateway, upstream, http):
    upstream.answers(completion("23."))
    many = [{"value": f"intent {i}"} for i in range(1, 78)]
    ask = {"type": "choice", "instructions": "Which intent?", "choices": many}
    running = through(gateway, upstream)
    reply = http("POST", running.url + PATHS["decisions"], asking("decisions", 0, questions=[ask]))
    assert json.loads(reply.data)["answers"][0]["choice"] == "intent 23"
    assert "logprobs" not in json.loads(upstream.received[0].body)


@every_api
@pytest.mark.parametrize("status", [401, 429, 500])
def test_the_servers_error_is_the_clients_answer(gateway, upstream, http, name, status):
    upstream.answers(b'{"error":{"message":"no"}}', status=status)
    reply = http("POST", through(gateway, upstream).url + PATHS[name], asking(name))
    assert (reply.status, reply.data) == (status, b'{"error":{"message":"no"}}')


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"choices":[]}', b"\xff"])
def test_what_is_no_completion_is_no_decision(gateway, upstream, http, body):
    upstream.answers(body)
    reply = http("POST", through(gateway, upstream).url + PATHS["decisions"], asking("decisions"))
    assert reply.status == 502
    assert "is not a chat completion" in reply.data.decode()


def test_what_chat_cannot_answer_is_refused(gateway, upstream, http):
    image = [{"role": "user", "content": [{"type": "input_image", "image_url": "u"}]}]
    running = through(gateway, upstream)
    for body in (asking("decisions", 0, input=image), b"{}"):
        reply = http("POST", running.url + PATHS["decisions"], body)
        assert reply.status == 400
    assert not upstream.received


def test_other_requests_pass_as_they_are(gateway, upstream, http):
    upstream.answers(completion("hello"))
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    reply = http("POST", through(gateway, upstream).url + "/v1/chat/completions", body)
    assert reply.data == completion("hello")
    assert upstream.received[0].body == body


def test_it_is_a_setting_of_a_teacher():
    section = TeacherSection(url="http://gpu:8000/v1", decisions_from="chat")
    assert isinstance(make_teacher(section, "gpu", keep_credentials=True), ChatDecisions)
    other = TeacherSection(url="http://gpu:8000/v1", decisions_from="chat", api="anthropic")
    with pytest.raises(SettingError, match="is for the API openai"):
        make_teacher(other, "gpu", keep_credentials=True)
