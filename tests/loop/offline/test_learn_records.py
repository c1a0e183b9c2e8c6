"""Records on the rung linear, from a log to what a client gets."""

import json
import random

import msgspec
import pytest

from made_up_records import orders
from openwheel.gate import verify
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


def test_a_field_that_differs_at_random_is_blamed(store, fill, rows):
    rng = random.Random(2)
    mixed = []
    for row in rows:
        record = json.loads(row["output"])
        record["urgency"] = rng.choice(["low", "high"])  # nothing in the input says which
        mixed.append({"input": row["input"], "output": json.dumps(record)})
    fill(mixed)
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert not finding.certified
    assert "'urgency'" in finding.reason


def test_a_certificate_counts_fields(store, registry, fill, rows):
    mixed = []
    for i, row in enumerate(rows):
        record = json.loads(row["output"])
        if i % 100 == 50:
            record["count"] += 1
        mixed.append({"input": row["input"], "output": json.dumps(record)})
    fill(mixed)
    finding = learn(store, SETTINGS, source="made up").tasks[0]
    assert finding.certified
    [certificate] = registry.certificates()
    names = {part.field for part in certificate.fields}
    assert names == {"kind", "customer.name", "count", "items", "due", "source"}
    worst = certificate.fields[0]
    assert worst.field == "count"
    assert worst.records == finding.answered
    assert worst.records - worst.agreed == finding.disagreements > 0
    assert any("'count' in" in text for text in finding.warnings)
    assert verify(certificate).holds
    more = msgspec.structs.replace(worst, agreed=worst.records + 1)
    altered = msgspec.structs.replace(certificate, fields=(more,)).sealed()
    assert not verify(altered).holds
