"""Records that a student of the rung linear writes, over every API, streamed and not."""

import json

import pytest

from made_up_records import orders
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.store.exchange import Exchange
from openwheel.teachers import RecordedTeacher
from openwheel.wire import APIS, Answer, sse_data

from .apis import PATHS, request_of

APIS_ASKED = ("chat", "responses", "messages")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("store") / "openwheel.db") as store:
        store.append(
            [
                Exchange(
                    id=f"e{i}",
                    time=1.7e9 + i,
                    # What an API alone has, as a limit of tokens, is a setting it must have seen.
                    request=request_of(APIS_ASKED[i % 3], row["input"]),
                    api=APIS_ASKED[i % 3],
                    answer=Answer(row["output"]),
                    source="log",
                    model="m",
                )
                for i, row in enumerate(orders(600, indent=2))
            ]
        )
        settings = LoopSettings(rungs=("linear",))
        assert learn(store, settings, source="made up").tasks[0].certified
        yield Registry(store)


@pytest.fixture(scope="module")
def asked(registry):
    """A request that the student answers, with the teacher's answer."""
    serving = RegistryServing(registry)
    for row in orders(20, seed=9, indent=2):
        request = APIS["chat"].read_request(request_of("chat", row["input"]))
        if serving.decide(request).answer is not None:
            return row
    raise AssertionError("the student answers nothing")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", APIS_ASKED)
def test_a_record_is_served_with_the_teacher_s_bytes(gateway, http, registry, asked, api, stream):
    running = gateway(RecordedTeacher([]), RegistryServing(registry))
    body = request_of(api, asked["input"], stream=stream)
    reply = http("POST", running.url + PATHS[api], body)
    assert reply.status == 200, reply.data
    assert reply.headers["x-openwheel-source"] == "student"
    read = (
        APIS[api].read_stream(sse_data(reply.data)) if stream else APIS[api].read_reply(reply.data)
    )
    assert read.answer == Answer(asked["output"])
    json.loads(read.answer.text)


def test_what_it_is_not_sure_of_goes_to_the_teacher(gateway, http, registry):
    text = "please tell me of the weather"
    known = Exchange(
        id="w", request=request_of("chat", text), answer=Answer("{}"), source="log", model="m"
    )
    running = gateway(RecordedTeacher([known]), RegistryServing(registry))
    reply = http("POST", running.url + PATHS["chat"], request_of("chat", text))
    assert reply.headers["x-openwheel-source"] == "teacher"
    assert APIS["chat"].read_reply(reply.data).answer == Answer("{}")
