"""Calls that go on from results of others, and requests whose tools differ, from a log on."""

import json
import random

import pytest

from made_up_calls import SCHEMAS, TRACKING, calls, step_of, tools_of, tracked
from openwheel.loop.offline.evaluate import evaluate
from openwheel.loop.offline.learn import learn
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store.exchange import Exchange
from openwheel.tasks import answer_in
from openwheel.wire import APIS, Answer

SETTINGS = LoopSettings(rungs=("exact", "linear"))
WITH_TOOLS = ("chat", "responses", "messages")


def exchanges_of(asked):
    """Return exchanges of a log: each an API, a body and the teacher's answer."""
    return [
        Exchange(
            id=f"e{i}",
            time=1.7e9 + i,
            request=body,
            api=api,
            answer=answer,
            source="log",
            model="m",
        )
        for i, (api, body, answer) in enumerate(asked)
    ]


def conversations(n, seed=0):
    """Return every request of conversations, over all three APIs in turn."""
    asked = []
    for i, (text, steps) in enumerate(tracked(n, seed=seed)):
        api = WITH_TOOLS[i % 3]
        told = Answer(f"It is as follows: {steps[-1][1]}.")
        for done in range(len(steps) + 1):
            answer = steps[done][0] if done < len(steps) else told
            asked.append(
                (api, step_of(api, text, steps[:done], tools=tools_of(api, TRACKING)), answer)
            )
    return asked


@pytest.fixture
def learned(store):
    store.append(exchanges_of(conversations(450)))
    return learn(store, SETTINGS, source="made up")


def test_each_step_is_a_task_of_all_apis_and_the_last_text_is_the_teacher_s(
    store, registry, learned
):
    found = {task.name: task for task in learned.tasks}
    assert {name: task.form for name, task in found.items()} == {
        "messages": "tool_call",
        "messages-after-find_order": "tool_call",
        "messages-after-track": "text",
    }
    first, second = found["messages"], found["messages-after-find_order"]
    assert first.certified, first.reason
    assert second.certified, second.reason
    assert second.coverage > 0.5
    serving = RegistryServing(registry)
    given = {0: 0, 1: 0}
    for api, body, answer in conversations(40, seed=3):
        request = APIS[api].read_request(body)
        decision = serving.decide(request)
        done = sum(message.role == "tool" for message in request.prompt.messages)
        if decision.answer is None:
            assert decision.task in found
            continue
        assert answer_in(decision.answer, decision.form).tool_calls == answer.tool_calls
        given[done] += 1
    assert min(given.values()) > 15
    latest = [exchange for _, exchange in store.exchanges()][-300:]
    assert evaluate(serving, latest).total.disagreements <= 3


def test_requests_whose_tools_differ_are_one_task_and_get_what_they_offer(store, registry):
    rng = random.Random(0)
    more = {f"tool_{i}": SCHEMAS["list_orders"] for i in range(12)}
    schemas = SCHEMAS | more
    asked = []
    for i, (text, answer) in enumerate(calls(900)):
        api = WITH_TOOLS[i % 3]
        own = {name: schemas[name] for name in (*SCHEMAS, *rng.sample(sorted(more), 5))}
        if rng.random() < 0.2:
            del own[answer.tool_calls[0].name]
            told = Answer(f"I cannot do that: {text}")
        else:
            told = answer
        system = {"role": "system", "content": "You are the desk of a travel agency. Call a tool."}
        body = json.loads(step_of(api, text, (), tools=tools_of(api, own)))
        if api == "messages":
            body["system"] = system["content"]
        else:
            body["messages" if api == "chat" else "input"].insert(0, system)
        asked.append((api, json.dumps(body).encode(), told))
    store.append(exchanges_of(asked))
    [finding] = learn(store, SETTINGS, source="made up").tasks
    assert (finding.form, finding.certified) == ("tool_call", True), finding.reason
    assert "[tools] {2}" in finding.template
    serving = RegistryServing(registry)
    answered = 0
    for api, body, answer in asked[-200:]:
        decision = serving.decide(APIS[api].read_request(body))
        answered += decision.answer is not None
        assert decision.answer is None or answer.tool_calls
    assert answered > 80
    [certificate] = registry.certificates()
    assert certificate.unfinished.exchanges > 20
    assert certificate.unfinished.answered == 0
