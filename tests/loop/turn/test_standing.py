import random

import msgspec
import pytest

from made_up import QUEUES, ticket, tickets
from openwheel.errors import SettingError
from openwheel.gate import spent, verify
from openwheel.loop.by_hand import promote_by_hand
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.standing import certify_anew
from openwheel.loop.turn.turn import turn
from openwheel.tasks import Task, match
from openwheel.tasks.template import Part, Template
from openwheel.wire import Prompt, PromptMessage, Request

SETTINGS = LoopSettings()
EASY = Request(
    prompt=Prompt(messages=(PromptMessage("user", "invoice payment refund tax amount 4711"),))
)


def verdicts(n: int) -> list[dict[str, str]]:
    """Return what a template without constant text takes, until it is a task of its own."""
    rng = random.Random(2)
    return [
        {
            "input": "Decide whether this ticket is urgent. Answer urgent or can-wait.\n\n"
            f"Ticket: {ticket(rng, rng.choice(list(QUEUES)))}\n\nVerdict:",
            "output": rng.choice(["urgent", "can-wait"]),
        }
        for _ in range(n)
    ]


def other(message: str, system: str = "") -> Task:
    """Return a task whose message is some text before a variable."""
    part = Part((system,))
    template = Template((part, Part(), Part((message, "")), Part()))
    return Task(template.id, f"a task of {message!r}", template)


@pytest.fixture
def certificate(store, registry, fill):
    """Return the certificate of a student whose template takes every message."""
    fill(tickets(1_000))
    learn(store, SETTINGS, source="made up")
    (found,) = registry.certificates()
    return found


def test_a_split_ends_the_certificate_and_the_student_shadows(store, registry, fill, certificate):
    worker = RegistryServing(registry)
    assert worker.decide(EASY).answer == "billing"
    fill(verdicts(150))
    done = turn(store, SETTINGS, after=1_000)
    assert len(registry.tasks()) == 2
    (demoted,) = [event for event in done.events if event.kind == "demoted"]
    assert "other prompts" in demoted.reason
    assert registry.tasks()[1].task.name in demoted.reason
    promotion = registry.promotions()[certificate.task]
    assert (promotion.certificate, promotion.by) == (None, "traffic")
    assert promotion.reason == demoted.reason
    assert worker.refresh()
    assert worker.decide(EASY).reason == "no student"
    ((shadow, _, _),) = registry.candidates(state="shadow")
    assert (shadow.id, shadow.attempt, shadow.method) == (certificate.student, 2, "anytime")
    with pytest.raises(SettingError, match="other prompts"):
        promote_by_hand(registry, SETTINGS, registry.tasks()[0].task.name)

    fill(tickets(300, seed=3))
    turn(store, SETTINGS, after=1_150)
    anew = registry.promotions()[certificate.task].certificate
    assert anew.student == certificate.student
    assert anew.delta_spent == spent(SETTINGS.delta, 2)
    assert anew.calibration_window.first_seq > 1_150
    assert anew.matcher not in {"", certificate.matcher}
    assert verify(anew).holds
    assert worker.refresh()
    assert worker.decide(EASY).answer == "billing"
    assert certify_anew(registry) == []


def test_a_worker_serves_it_no_more_before_a_turn_has_taken_it_off(registry, certificate, caplog):
    worker = RegistryServing(registry)
    registry.add_tasks([other("Summarise the report:\n")])
    assert worker.refresh()
    assert worker.decide(EASY).reason == "no student"
    assert "other prompts" in caplog.text
    assert registry.promotions()[certificate.task].certificate == certificate


def test_who_was_taken_off_by_hand_before_comes_back_only_against_that(registry, certificate):
    name = registry.tasks()[0].task.name
    registry.demote(certificate.task, by="user", reason="by hand")
    registry.add_tasks([other("Summarise the report:\n")])
    with pytest.raises(SettingError, match="other prompts"):
        promote_by_hand(registry, SETTINGS, name)
    promote_by_hand(registry, SETTINGS, name, against_evidence=True)
    assert RegistryServing(registry).decide(EASY).answer == "billing"
    assert registry.promotions()[certificate.task].against_evidence
    assert certify_anew(registry) == []


def test_a_task_that_takes_nothing_of_another_ends_nothing(registry, certificate):
    worker = RegistryServing(registry)
    named = Task("1", "named", other("Summarise the report:\n").template, explicit="named")
    registry.add_tasks([other("Summarise:\n", system="You write summaries."), named])
    assert certify_anew(registry) == []
    assert worker.refresh()
    assert worker.decide(EASY).answer == "billing"


def test_another_way_to_match_ends_it(registry, certificate, monkeypatch):
    monkeypatch.setattr(match, "MATCHING", match.MATCHING + 1)
    assert RegistryServing(registry).decide(EASY).reason == "no student"
    assert [event.kind for event in certify_anew(registry)] == ["demoted"]
    assert certify_anew(registry) == []


def test_who_shadows_begins_anew_and_what_an_earlier_version_left_is_known_from_now_on(
    store, registry, certificate
):
    ((candidate, _, _),) = registry.candidates()
    registry.demote(certificate.task, by="user", reason="by hand")
    registry.add_candidate(msgspec.structs.replace(candidate, id="shadow", matcher=""))
    assert certify_anew(registry) == []
    registry.add_tasks([other("Summarise the report:\n")])
    assert [event.kind for event in certify_anew(Registry(store))] == ["shadowing"]
    shadow = registry.candidate("shadow")
    assert (shadow.attempt, shadow.judged_after) == (2, 1_000)
