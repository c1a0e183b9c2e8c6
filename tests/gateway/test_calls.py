"""Calls of tools by a student of the rung linear, over every API that has tools, read by SDKs."""

import json

import anthropic
import msgspec
import openai
import pytest

from made_up_calls import SCHEMAS, call, several_calls, tools_of
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.store.exchange import Exchange
from openwheel.teachers import RecordedTeacher
from openwheel.wire import APIS, Answer, ToolCall

from .apis import PATHS, request_of

APIS_ASKED = ("chat", "responses", "messages")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """One task of all APIs."""
    with Store.open(tmp_path_factory.mktemp("store") / "openwheel.db") as store:
        store.append(
            [
                Exchange(
                    id=f"e{i}",
                    time=1.7e9 + i,
                    request=request_of(APIS_ASKED[i % 3], text, tools=tools_of(APIS_ASKED[i % 3])),
                    api=APIS_ASKED[i % 3],
                    answer=answer,
                    source="log",
                    model="m",
                )
                for i, (text, answer) in enumerate(several_calls(900))
            ]
        )
        found = learn(store, LoopSettings(rungs=("linear",)), source="made up")
        assert [task.certified for task in found.tasks] == [True]
        yield Registry(store)


@pytest.fixture(scope="module")
def serving(registry):
    return RegistryServing(registry)


def answered(serving, number):
    """Return a request that every student answers, and the teacher's calls, all with arguments."""
    for text, answer in several_calls(90, seed=9):
        bodies = [(api, request_of(api, text, tools=tools_of(api))) for api in APIS_ASKED]
        decided = [serving.decide(APIS[api].read_request(body)) for api, body in bodies]
        given = {one.arguments for one in answer.tool_calls}
        if len(given) == number and "{}" not in given and all(one.answer for one in decided):
            return text, answer.tool_calls
    raise AssertionError("the students answer nothing")


@pytest.fixture(scope="module")
def asked(serving):
    """A request that every student answers, and the teacher's call."""
    text, [wanted] = answered(serving, 1)
    return text, wanted


@pytest.fixture(scope="module", params=[1, 2])
def asked_for(serving, request):
    """A request that every student answers, and the teacher's one call, or its two."""
    return answered(serving, request.param)


@pytest.fixture
def running(gateway, serving):
    return gateway(RecordedTeacher([]), serving)


def test_openai_reads_calls_of_a_chat_completion(running, asked_for):
    text, wanted = asked_for
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client:
        options = {
            "model": "m",
            "messages": [{"role": "user", "content": text}],
            "tools": tools_of("chat"),
        }
        raw = client.chat.completions.with_raw_response.create(**options)
        assert raw.headers["x-openwheel-source"] == "student"
        with client.chat.completions.stream(**options) as stream:
            streamed = stream.get_final_completion()
        for completion in (raw.parse(), streamed):
            [choice] = completion.choices
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
            made = choice.message.tool_calls
            assert [ToolCall(one.function.name, one.function.arguments) for one in made] == [
                *wanted
            ]
            assert len({one.id for one in made if one.id.startswith("call_")}) == len(wanted)
    kept = running.exchanges(2)
    assert {one.source for one in kept} == {"student"}
    assert {one.answer for one in kept} == {Answer("", wanted, "tool_calls")}


def test_openai_reads_calls_of_a_response(running, asked_for):
    text, wanted = asked_for
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0) as client:
        options = {"model": "m", "input": text, "store": False, "tools": tools_of("responses")}
        raw = client.responses.with_raw_response.create(**options)
        assert raw.headers["x-openwheel-source"] == "student"
        with client.responses.stream(**options) as stream:
            streamed = stream.get_final_response()
        for response in (raw.parse(), streamed):
            assert response.status == "completed"
            made = response.output
            assert {one.type for one in made} == {"function_call"}
            assert (
                len({one.call_id for one in made}) == len({one.id for one in made}) == len(wanted)
            )
            assert [ToolCall(one.name, one.arguments) for one in made] == [*wanted]


def test_anthropic_reads_calls_of_a_message(running, asked_for):
    text, wanted = asked_for
    with anthropic.Anthropic(base_url=running.url, api_key="x", max_retries=0) as client:
        options = {
            "model": "m",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": text}],
            "tools": tools_of("messages"),
        }
        raw = client.messages.with_raw_response.create(**options)
        assert raw.headers["x-openwheel-source"] == "student"
        with client.messages.stream(**options) as stream:
            streamed = stream.get_final_message()
        for message in (raw.parse(), streamed):
            assert message.stop_reason == "tool_use"
            made = message.content
            assert {one.type for one in made} == {"tool_use"}
            assert len({one.id for one in made if one.id.startswith("toolu_")}) == len(wanted)
            assert [(one.name, one.input) for one in made] == [
                (one.name, json.loads(one.arguments)) for one in wanted
            ]


@pytest.mark.parametrize("api", APIS_ASKED)
def test_a_call_of_a_tool_that_is_not_offered_goes_to_the_teacher(
    gateway, http, serving, asked, api
):
    text, wanted = asked
    others = {name: schema for name, schema in SCHEMAS.items() if name != wanted.name}
    body = request_of(api, text, tools=tools_of(api, others))
    other = call("list_orders", {})
    known = Exchange(id="k", request=body, api=api, answer=other, source="log", model="m")
    running = gateway(RecordedTeacher([known]), serving)
    reply = http("POST", running.url + PATHS[api], body)
    assert reply.headers["x-openwheel-source"] == "teacher"
    assert APIS[api].read_reply(reply.data).answer == other


@pytest.mark.parametrize("api", APIS_ASKED)
def test_an_audited_call_is_compared_with_the_teacher_s(gateway, http, registry, asked, api):
    """The teacher's call is kept as one, the student's beside it as it wrote it."""
    text, wanted = asked
    body = request_of(api, text, tools=tools_of(api))
    answer = Answer("", (wanted,), "tool_calls")
    known = Exchange(id="k", request=body, api=api, answer=answer, source="log", model="m")

    class Audited:
        serving = RegistryServing(registry)

        def refresh(self):
            return False

        def decide(self, request, task="", key=""):
            decision = self.serving.decide(request, task, key)
            return msgspec.structs.replace(decision, audit_probability=1.0)

    running = gateway(RecordedTeacher([known]), Audited())
    reply = http("POST", running.url + PATHS[api], body)
    assert reply.headers["x-openwheel-source"] == "student"
    served, audit = running.exchanges(2)
    assert (served.source, audit.source) == ("student", "teacher")
    assert audit.answer.tool_calls[0].name == wanted.name
    assert json.loads(audit.student_answer) == {
        "name": wanted.name,
        "arguments": json.loads(wanted.arguments),
    }
