"""Answers that a student must not miss, from the setting to the certificate."""

import msgspec
import pytest

from loop.conftest import Filler
from made_up import tickets
from openwheel.gate import verify
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.settings import TaskSection
from openwheel.store import Store
from openwheel.wire import Prompt, PromptMessage, Request

DANGER = ("smoke", "fire", "burning", "sparks")


def rows(n, *, every=40, seed=0):
    """Return tickets; of every few one smells of fire, and is answered ``urgent``."""
    found = tickets(n, seed=seed)
    for i, row in enumerate(found[::every]):
        row.update(input=f"{row['input']} {DANGER[i % 4]} {DANGER[i // 4 % 4]}", output="urgent")
    return found


def settings(store, registry, *named):
    """Return settings that name critical answers for the task that is there, or will be."""
    name = registry.tasks()[0].task.name
    return LoopSettings(tasks={name: TaskSection(critical=named)})


def request(text):
    return Request(prompt=Prompt(messages=(PromptMessage("user", text),)))


def filled(store, registry, fill):
    """Have traffic whose task was found, and that waits for a student; return settings for it."""
    fill(rows(150))
    turn(store, LoopSettings())
    fill(rows(1_200, seed=1))
    return settings(store, registry, "urgent")


@pytest.fixture
def found(store, registry, fill):
    return filled(store, registry, fill)


def test_a_request_that_may_be_critical_goes_to_the_teacher(store, registry, found):
    turn(store, found)
    worker = RegistryServing(registry)
    dangerous = worker.decide(request("the screen is broken sparks fire 17"))
    assert (dangerous.answer, dangerous.reason) == (None, "critical")
    harmless = [worker.decide(request(row["input"])) for row in tickets(50, seed=9)]
    assert sum(decision.answer is not None for decision in harmless) > 25


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """Return a turn of that traffic, and its certificate."""
    folder = tmp_path_factory.mktemp("certified")
    with Store.open(folder / "openwheel.db") as store:
        registry = Registry(store)
        done = turn(store, filled(store, registry, Filler(store, folder)))
        (certificate,) = registry.certificates()
        return done, certificate


def test_the_certificate_counts_critical_answers_and_bounds_what_was_missed(certified):
    done, certificate = certified
    critical = certificate.critical
    assert critical.answers == ("urgent",)
    assert 0 <= critical.otherwise <= critical.at_most <= critical.teacher
    assert critical.teacher > 3
    # With so few of them little can be promised, and that is said.
    assert critical.otherwise / critical.teacher < certificate.critical_bound < 1
    assert "urgent" not in certificate.never_given
    assert any(f"Of {critical.teacher} calibration requests" in e.reason for e in done.events)
    assert verify(certificate).holds


@pytest.mark.parametrize(
    "change",
    [
        {"critical_bound": 0.001},
        {"critical_bound": None},
        {"otherwise": 5_000},
        {"at_most": -1},
    ],
)
def test_counts_of_critical_answers_that_cannot_be_do_not_verify(certified, change):
    _, certificate = certified
    (name,) = change
    if name != "critical_bound":
        change = {"critical": msgspec.structs.replace(certificate.critical, **change)}
    forged = msgspec.structs.replace(certificate, **change).sealed()
    verification = verify(forged)
    assert not verification.holds
    assert any("critical" in problem for problem in verification.problems)


def test_where_critical_answers_are_too_few_nobody_is_tried(store, registry, fill):
    fill(rows(150, every=150))
    turn(store, LoopSettings())
    fill(rows(1_200, every=400, seed=1))
    done = turn(store, settings(store, registry, "urgent"))
    (trouble,) = [event for event in done.events if event.kind == "trouble"]
    assert "'urgent' to 4 different inputs; at least 10" in trouble.reason
    assert not registry.candidates()
    assert registry.tasks()[0].attempts == 0


def test_naming_an_answer_takes_a_student_off_that_does_not_know_of_it(
    store, registry, fill, found
):
    first = turn(store, LoopSettings())
    (before,) = registry.certificates()
    fill(rows(300, seed=2))
    done = turn(store, found, after=first.looked_at)
    (demoted,) = [event for event in done.events if event.kind == "demoted"]
    assert "names 'urgent', of which the student does not know" in demoted.reason
    ((student, _, _),) = registry.candidates(state="shadow")
    assert student.id != before.student
    assert student.critical == ("urgent",)
    # To name fewer later is no reason to give it up.
    done = turn(store, LoopSettings(), after=done.looked_at)
    assert registry.candidates(state="shadow")


def test_learning_a_log_tells_of_critical_answers(store, registry, found):
    report = learn(store, found, source="log")
    (finding,) = report.tasks
    assert any("requests with a critical answer" in warning for warning in finding.warnings)
