"""Records in the live loop: trained, judged and promoted by turns, compared as the user chose."""

import json
import random

import pytest

from made_up_records import orders
from openwheel.gate import verify
from openwheel.loop.offline.learn import learn
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.settings import TaskSection

SETTINGS = LoopSettings(rungs=("exact", "linear"))


def test_a_student_of_records_is_promoted_and_widened_by_turns(store, registry, fill):
    fill(orders(1_000))
    done = turn(store, SETTINGS)
    assert "promoted" in [event.kind for event in done.events]
    (certificate,) = registry.certificates()
    assert certificate.rung == "linear"
    assert certificate.fields
    assert verify(certificate).holds
    fill(orders(200, seed=3))
    again = turn(store, SETTINGS, after=done.looked_at)
    assert "demoted" not in [event.kind for event in again.events]


@pytest.mark.parametrize("fields", [{}, {"note": ("ignore",)}])
def test_a_field_that_nobody_reads_does_not_count(store, fill, fields):
    rng = random.Random(0)
    rows = orders(500)
    for row in rows:
        record = json.loads(row["output"]) | {"note": rng.choice(["ok", "fine", "well"])}
        row["output"] = json.dumps(record)
    fill(rows)
    settings = LoopSettings(rungs=("linear",), tasks={"messages": TaskSection(fields=fields)})
    finding = learn(store, settings, source="made up").tasks[0]
    assert finding.name == "messages"
    assert finding.certified == bool(fields)
