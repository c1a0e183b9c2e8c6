import itertools

import msgspec

from made_up import tickets
from openwheel.loop.learner import learner
from openwheel.loop.learner.learner import run_learner
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.progress import steps_alone
from openwheel.store import Exchange
from openwheel.wire import Answer

SETTINGS = LoopSettings()


def looks(n):
    """Return a ``stop`` that ends the learner after ``n`` looks."""
    count = itertools.count()
    return lambda: next(count) >= n


def test_a_store_that_is_not_empty_gets_its_turn_at_once(store, registry, fill, monkeypatch):
    monkeypatch.setattr(learner, "LOOK_EVERY", 0)
    fill(tickets(1_000))
    told = []
    shown = []
    run_learner(
        store,
        SETTINGS,
        tell=told.append,
        stop=looks(1),
        progress=steps_alone(lambda *about: shown.append(about)),
    )
    assert [event.kind for event in told] == ["promoted"]
    assert registry.certificates()
    assert ("learning", 1_000, 1_000, "exchanges", "") in shown
    assert all(len(about) == 5 for about in shown)  # no phrases


def test_too_little_new_traffic_takes_no_turn(store, registry, fill, monkeypatch):
    monkeypatch.setattr(learner, "LOOK_EVERY", 0)
    fill(tickets(150))
    run_learner(store, SETTINGS, tell=print, stop=looks(3))
    assert registry.turns() == []


def test_audits_demote_between_turns(store, registry, fill, monkeypatch):
    monkeypatch.setattr(learner, "LOOK_EVERY", 0)
    fill(tickets(1_000))
    turn(store, SETTINGS)
    (certificate,) = registry.certificates()
    request = msgspec.json.encode({"messages": [{"role": "user", "content": "invoice tax 1"}]})
    told = []
    first = looks(1)

    def stop():
        if not first():
            return False  # the turn that a fresh learner takes
        if not told or store.count() == 1_000:
            store.append(
                [
                    Exchange(
                        id=f"audit-{i}",
                        request=request,
                        answer=Answer("account"),
                        source="teacher",
                        audit_probability=0.05,
                        student=certificate.student,
                        student_answer="billing",
                    )
                    for i in range(30)
                ]
            )
            return False
        return True

    run_learner(store, SETTINGS, tell=told.append, stop=stop)
    assert "demoted" in [event.kind for event in told]
    assert len(registry.turns()) == 2
    assert registry.promotions()[certificate.task].by == "audit"
