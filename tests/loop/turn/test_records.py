"""Records in the live loop: trained, judged and promoted by turns, compared as the user chose."""

import json
import random
import re

import pytest

from made_up import tickets
from made_up_records import orders
from openwheel.gate import verify
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import subject_of
from openwheel.loop.turn.standing import compared_otherwise
from openwheel.loop.turn.turn import turn
from openwheel.settings import TaskSection

SETTINGS = LoopSettings(rungs=("exact", "linear"))


def by_field(loss="record", **fields):
    """Return settings by which records of the task are compared."""
    task = TaskSection(loss=loss, fields={name: tuple(words) for name, words in fields.items()})
    return LoopSettings(rungs=("linear",), tasks={"messages": task})


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
    finding = learn(store, by_field(**fields), source="made up").tasks[0]
    assert finding.name == "messages"
    assert finding.certified == bool(fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"coutn": ["~1"]}, "tasks.messages: fields has 'coutn', which none of .* did you mean"),
        ({"kind": ["~1%"]}, "tasks.messages: fields.kind is ~1%, which is for a number"),
        ({"count": ["set"]}, "tasks.messages: fields.count is set, which is for a list"),
    ],
)
def test_rules_that_do_not_suit_the_answers_are_told_before_anything_is_learned(
    store, fill, fields, said
):
    fill(orders(300))
    settings = by_field(**fields)
    finding = learn(store, settings, source="made up").tasks[0]
    assert re.match(f"Not learned: {said}", finding.reason)
    assert finding.attempt == 0
    [event] = [event for event in turn(store, settings).events if event.kind == "trouble"]
    assert re.match(said, event.reason)


def test_fields_of_what_has_none_are_an_error_that_names_the_task(store, fill):
    fill(tickets(300))
    finding = learn(store, by_field("fields"), source="made up").tasks[0]
    assert (
        "tasks.messages: loss = 'fields' and fields are for answers of the form" in finding.reason
    )


def test_a_promoted_student_stays_while_no_answer_loses_more(store, registry, fill):
    fill(orders(700))
    done = turn(store, by_field("record", source=["ignore"]))
    assert "promoted" in [event.kind for event in done.events]
    [promotion] = registry.promotions().values()
    student = registry.candidate(promotion.certificate.student)
    assert promotion.certificate.compared.fields == {"source": ("ignore",)}
    [record] = registry.tasks()
    covered = by_field("fields", source=["ignore"])
    assert compared_otherwise(registry, record, covered) == []
    subject = subject_of(registry, record, covered, Resources()).as_certified(student)
    assert subject.comparison.fingerprint == student.compared.sha256
    assert not subject.comparison.bounded  # it is audited as it was certified
    [event] = compared_otherwise(registry, record, by_field("record", count=["~1"]))
    assert event.kind == "demoted"
    assert "by the loss record (count: ~1) now" in event.reason
    assert "as they are, by the loss record (source: ignore)" in event.reason
