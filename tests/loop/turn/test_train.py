import msgspec
import pytest

from made_up import tickets
from openwheel.loop.data import load_answers
from openwheel.loop.resources import NO_RESOURCES
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import subject_of
from openwheel.loop.turn.curate import curate
from openwheel.loop.turn.train import worth_training_on

SWAPPED = {"billing": "account", "account": "billing"}


@pytest.fixture
def after_change(store, registry, fill):
    """Return a task's exchanges, of which the last 400 are answered as a function says."""

    def make(answer):
        fill(tickets(800))
        fill([{**row, "output": answer(row["output"])} for row in tickets(400, seed=1)])
        curate(store, registry)
        (record,) = registry.tasks()
        subject = subject_of(registry, record, LoopSettings(), NO_RESOURCES)
        return subject, load_answers(store, record.task.id, record.form)

    return make


def test_what_a_change_made_wrong_is_not_trained_on(after_change):
    subject, data = after_change(lambda answer: SWAPPED.get(answer, answer))
    kept = worth_training_on(subject, data, 800)
    assert kept.seq.min() == 801
    assert len(kept) == 400


def test_what_still_holds_is(after_change):
    subject, data = after_change(lambda answer: answer)
    # So few came since the alarm that they teach less than all.
    assert len(worth_training_on(subject, data, 1_150)) == len(data)


def test_without_a_change_or_for_other_forms_everything_is_kept(after_change):
    subject, data = after_change(lambda answer: SWAPPED.get(answer, answer))
    assert worth_training_on(subject, data, 0) is data
    record = msgspec.structs.replace(subject.record, form="text")
    texts = msgspec.structs.replace(subject, record=record)
    assert worth_training_on(texts, data, 800) is data
