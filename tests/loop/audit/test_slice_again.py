"""A slice that audits took off comes back with a student that learned what it is now."""

import json
import random

import msgspec
import pytest
import sqlalchemy as sa

from made_up import QUEUES, ticket
from openwheel.loop.audit.records import slice_changes, slices_off, untrained_changes
from openwheel.loop.audit.step import audit
from openwheel.loop.data import load_answers
from openwheel.loop.learner.learner import run_learner
from openwheel.loop.resources import NO_RESOURCES
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import subject_of
from openwheel.loop.turn.train import worth_training_on
from openwheel.loop.turn.turn import turn
from openwheel.store import Exchange
from openwheel.store.schema import students
from openwheel.wire import Answer

SETTINGS = LoopSettings(canary=1.0)
CUSTOMERS = ("acme", "globex", "initech")


@pytest.fixture
def off(store, registry, audited):
    """Have the slice initech taken off; return the task's id."""
    audit(store, registry, SETTINGS, until=audited("." * 30, customer="acme"))
    audit(store, registry, SETTINGS, until=audited("." * 30, customer="globex"))
    (event,) = audit(store, registry, SETTINGS, until=audited("x" * 8, customer="initech"))
    assert event.kind == "deferred"
    return registry.tasks()[0].task.id


@pytest.fixture
def answered(store):
    """Have the teacher answer tickets of all customers; those of initech now go to one desk."""
    rng = random.Random(21)

    def answer(n, *, customers=CUSTOMERS):
        newest, made = store.last_seq(), []
        for i in range(n):
            customer, queue = customers[i % len(customers)], rng.choice(list(QUEUES))
            system = f"You sort tickets for the customer {customer}. Answer with one queue."
            messages = [
                {"role": "system", "content": system},
                {"role": "user", "content": ticket(rng, queue)},
            ]
            said = "desk" if customer == "initech" else queue
            made.append(
                Exchange(
                    id=f"t{newest + i}",
                    time=2_000.0,
                    request=json.dumps({"messages": messages}).encode(),
                    answer=Answer(said),
                    source="teacher",
                    teacher="big",
                    unbiased=True,
                )
            )
        store.append(made)

    return answer


@pytest.mark.parametrize(
    ("epsilon", "each"), [(0.25, 500), pytest.param(0.05, 2_250, marks=pytest.mark.evidence)]
)
def test_the_task_is_trained_anew_for_it_once_there_are_enough_labels(
    store, registry, off, answered, decided, epsilon, each
):
    """The laxer the limit, the fewer answers it takes."""
    settings = msgspec.structs.replace(SETTINGS, epsilon=epsilon)
    (record,) = registry.tasks()
    assert decided("initech").reason == "slice"
    answered(150)
    turn(store, settings)
    assert registry.tasks()[0].trained_on == record.trained_on  # too few
    answered(150)  # 20% of what it was trained on
    after = store.last_seq()
    turn(store, settings)
    assert registry.tasks()[0].trained_on > record.trained_on
    while slices_off(registry, off):
        # The stale answers before the change was noticed are a burst: evidence counts for less.
        assert store.last_seq() < after + 4 * each
        answered(each)
        turn(store, settings)
    again = decided("initech")
    assert again.below_threshold_answer == "desk"
    assert again.reason != "slice"
    assert decided("acme").answer == "billing"


def test_labels_of_other_slices_alone_train_nothing_anew(store, registry, off, answered):
    before = registry.tasks()[0].trained_on
    answered(300, customers=("acme", "globex"))
    turn(store, SETTINGS)
    assert registry.tasks()[0].trained_on == before


def test_only_what_the_slice_was_before_is_left_out(store, registry, off, answered):
    answered(600)
    turn(store, SETTINGS)
    (record,) = registry.tasks()
    data = load_answers(store, off, record.form)
    changes = slice_changes(registry, off, after=0)
    subject = subject_of(registry, record, SETTINGS, NO_RESOURCES)
    kept = worth_training_on(subject, data, 0, changes)
    (change,) = changes
    gone = set(data.seq) - set(kept.seq)
    assert gone == {
        seq
        for seq, values in zip(data.seq, data.inputs, strict=True)
        if seq <= change.after_seq and change.is_in(values)
    }
    assert gone


def test_whoever_shadows_and_learned_the_slice_as_it_was_is_dropped(store, registry, off, answered):
    """It would be promoted for the other slices, and answer this one too."""
    (certificate,) = registry.certificates()
    student = registry.candidate(certificate.student)
    registry.set_state(student.id, "shadow")
    answered(30)
    turn(store, SETTINGS)
    assert registry.candidates(task_id=off, state="shadow") == []
    assert slices_off(registry, off) == ("initech",)


def test_a_student_with_a_slice_off_gets_no_wider_certificate(store, registry, off, answered):
    """The certificate would count answers of the slice that it may not give."""
    (certificate,) = registry.certificates()
    student = registry.candidate(certificate.student)
    anytime = {"method": "anytime", "trained_until": 750}
    with store.write() as connection:
        body = json.loads(connection.execute(sa.select(students.c.candidate)).scalar_one())
        changed = json.dumps(body | anytime).encode()
        connection.execute(sa.update(students).values(candidate=changed))
    answered(150, customers=("acme", "globex"))
    turn(store, SETTINGS)
    assert [c.student for c in registry.certificates()] == [student.id]
    assert slices_off(registry, off) == ("initech",)


def test_a_learner_takes_that_turn_as_soon_as_the_labels_are_there(
    store, registry, off, answered, monkeypatch
):
    turn(store, SETTINGS)
    assert list(untrained_changes(registry)) == [off]
    first = len(registry.turns())
    steps = iter([lambda: None, lambda: answered(250), lambda: None])

    def stop():
        step = next(steps, None)
        if step is not None:
            step()
        return step is None

    run_learner(store, SETTINGS, tell=print, stop=stop)
    # One at its start, one for the slice; its growth of a tenth alone would have been 200 too.
    assert len(registry.turns()) == first + 2
    assert untrained_changes(registry) == {}
