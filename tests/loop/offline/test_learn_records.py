"""Records on the rung linear, from a log to what a client gets."""

import json

import pytest

from made_up_records import orders
from openwheel.loop.offline.evaluate import evaluate
from openwheel.loop.offline.learn import learn
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.wire import APIS

SETTINGS = LoopSettings(rungs=("exact", "linear"))


@pytest.fixture(scope="module")
def rows():
    return orders(900)


def test_records_are_learned_certified_and_served_with_the_teacher_s_bytes(
    store, registry, fill, rows
):
    fill(rows)
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert (finding.form, finding.rung) == ("record", "linear")
    assert finding.certified
    assert finding.coverage > 0.7
    serving = RegistryServing(registry)
    new = orders(60, seed=5)
    answered = 0
    for row in new:
        body = {"messages": [{"role": "user", "content": row["input"]}]}
        decision = serving.decide(APIS["chat"].read_request(json.dumps(body).encode()))
        if decision.answer is not None:
            answered += 1
            assert decision.answer == row["output"]
    assert answered > 30
    found = evaluate(serving, [exchange for _, exchange in store.exchanges()])
    assert found.total.answered > 600
    assert found.total.disagreements == 0
