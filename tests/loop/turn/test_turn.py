import random
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from made_up import QUEUES, ticket, tickets, write_log
from openwheel.gate import spent, verify
from openwheel.importing import LogProblems, read_log
from openwheel.loop.audit.step import audit
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Exchange, Store
from openwheel.wire import Answer, Prompt, PromptMessage, Request

SETTINGS = LoopSettings()


def event(done, kind):
    return [found for found in done.events if found.kind == kind]


def test_the_first_student_is_judged_at_once_on_the_latest_quarter(store, registry, fill):
    fill(tickets(1_000))
    done = turn(store, SETTINGS)
    assert event(done, "promoted")
    (certificate,) = registry.certificates()
    # One look at what was held out passed, for half of the attempt's delta.
    assert (certificate.method, certificate.share) == ("binomial", 0.5)
    assert certificate.delta_spent == pytest.approx(spent(0.05, 1) / 2)
    assert verify(certificate).holds
    assert certificate.training.last_seq < certificate.calibration_window.first_seq


@pytest.mark.parametrize("noise", [0.02, pytest.param(0.03, marks=pytest.mark.evidence)])
def test_evidence_gathers_over_turns_until_it_suffices(store, registry, fill, noise):
    rows = tickets(4_000, noise=noise, seed=2)
    after, kinds = 0, []
    for start in range(0, 4_000, 250):
        fill(rows[start : start + 250])
        done = turn(store, SETTINGS, after=after)
        after = done.looked_at
        kinds += [found.kind for found in done.events]
        if registry.certificates():
            break
    assert "shadowing" in kinds
    assert kinds[-1] == "promoted"
    (certificate,) = registry.certificates()
    # Whoever shadows was not trained on what judges it.
    assert certificate.training.last_seq < certificate.calibration_window.first_seq
    assert len(registry.turns()) == start // 250 + 1


def test_a_turn_with_nothing_new_spends_no_attempt(store, registry, fill):
    fill(tickets(1_000))
    done = turn(store, SETTINGS)
    turn(store, SETTINGS, after=done.looked_at)
    assert registry.tasks()[0].attempts == 1


def audits(task, student, n, wrong):
    """Return audited answers of a student; the teacher answered ``wrong`` of them otherwise.

    The wrong ones are spread evenly, none first.
    """
    every = n // wrong
    request = msgspec.json.encode({"messages": [{"role": "user", "content": "invoice tax 1"}]})
    return [
        Exchange(
            id=f"audit-{i}",
            request=request,
            answer=Answer("account" if i % every == every - 1 else "billing"),
            source="teacher",
            unbiased=True,
            audit_probability=0.05,
            student=student,
            student_answer="billing",
            confidence=0.99,
        )
        for i in range(n)
    ]


def test_an_audit_that_shows_disagreement_demotes_and_trains_anew(store, registry, fill):
    fill(tickets(1_000))
    turn(store, SETTINGS)
    (certificate,) = registry.certificates()
    store.append(audits(certificate.task, certificate.student, 60, 20))
    done = turn(store, SETTINGS, after=1_000)
    assert event(done, "demoted")
    promotion = registry.promotions()[certificate.task]
    assert promotion.certificate is None
    assert promotion.by == "audit"
    assert "audited answers disagreed with the teacher, evidently more than 5.00%" in (
        promotion.reason
    )


def test_audits_within_the_limit_change_nothing(store, registry, fill):
    fill(tickets(1_000))
    turn(store, SETTINGS)
    (certificate,) = registry.certificates()
    store.append(audits(certificate.task, certificate.student, 200, 6))
    turn(store, SETTINGS, after=1_000)
    assert audit(store, registry, LoopSettings()) == []
    assert registry.promotions()[certificate.task].certificate is not None


def test_a_student_taken_off_by_hand_stays_off(store, registry, fill):
    fill(tickets(1_000))
    turn(store, SETTINGS)
    (record,) = registry.tasks()
    registry.demote(record.task.id, by="user", reason="by hand")
    for seed in (1, 2):  # a second student trains on all this, then shadows what comes
        fill(tickets(1_000, seed=seed))
        done = turn(store, SETTINGS, after=seed * 1_000)
        assert not event(done, "promoted")
        assert registry.promotions()[record.task.id].certificate is None
    assert len(registry.certificates()) == 2


def test_biased_exchanges_are_trained_on_but_judge_nobody(store, registry, tmp_path):
    log = write_log(tmp_path / "log.jsonl", tickets(1_200))
    exchanges = list(read_log(log, in_order=True, problems=LogProblems()))
    store.append(exchanges[:400])
    store.append([msgspec.structs.replace(e, unbiased=False) for e in exchanges[400:]])
    turn(store, SETTINGS)
    for certificate in registry.certificates():
        assert certificate.calibration_window.last_seq <= 400


STRANGE = ["Schraube", "Getriebe", "Förderband", "Öl", "läuft", "über", "Halle", "quietscht"]


def test_a_new_kind_of_input_is_left_to_the_teacher(store, registry, fill):
    fill(tickets(1_500))
    turn(store, SETTINGS)
    serving = RegistryServing(registry)
    rng = random.Random(3)

    def answered(texts):
        prompts = [
            Request(prompt=Prompt(messages=(PromptMessage("user", text),))) for text in texts
        ]
        return sum(serving.decide(prompt).answer is not None for prompt in prompts)

    assert answered(" ".join(rng.choices(STRANGE, k=7)) for _ in range(100)) <= 5
    assert answered(ticket(rng, rng.choice(list(QUEUES))) for _ in range(100)) >= 85


@pytest.mark.evidence
def test_a_command_killed_at_any_moment_leaves_a_store_that_goes_on(tmp_path):
    """As a user runs it; test_killed.py has turns without a process of their own."""
    database = tmp_path / "openwheel.db"
    log = write_log(tmp_path / "log.jsonl", tickets(1_500, noise=0.02))
    with Store.open(database) as store:
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
    # Other tests may keep the processors busy.
    (tmp_path / "openwheel.toml").write_text("[loop]\nturn_nice = 0\n")
    command = [sys.executable, "-m", "openwheel", "turn", "--db", str(database)]
    rng = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.5, 4.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Store.open(database) as store:
            registry = Registry(store)
            for promotion in registry.promotions().values():
                assert promotion.certificate is None or verify(promotion.certificate).holds
            for candidate, _, _ in registry.candidates():
                registry.load(candidate)
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    with Store.open(database) as store:
        registry = Registry(store)
        assert store.count() == 1_500
        assert registry.certificates()
