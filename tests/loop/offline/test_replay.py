import pytest

from made_up import tickets, write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.evaluate import evaluate
from openwheel.loop.offline.learn import learn
from openwheel.loop.offline.replay import replay
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store

SETTINGS = LoopSettings()


def exchanges(tmp_path, rows):
    log = write_log(tmp_path / "replayed.jsonl", rows)
    return list(read_log(log, in_order=True, problems=LogProblems()))


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Return a replay: its rows, what it found, left in its store, and told of while it went."""
    folder = tmp_path_factory.mktemp("replayed")
    rows, served, told = exchanges(folder, tickets(1_500)), [], []
    with Store.open(folder / "openwheel.db") as store:
        found = replay(store, rows, SETTINGS, each=served.append, tell=told.extend)
        return rows, found, [exchange for _, exchange in store.exchanges()], served, told


@pytest.fixture(scope="module")
def replayed(watched):
    """Return what it found, and the exchanges that it left in its store."""
    _, found, kept, _, _ = watched
    return found, kept


def test_a_replay_starts_from_nothing_and_comes_to_answer(replayed):
    found, _ = replayed
    assert found.total.n == 1_500
    assert found.timeline[0].score.answered == 0
    assert found.timeline[-1].latest.coverage > 0.8
    assert found.total.disagreement is not None
    assert found.total.disagreement <= SETTINGS.epsilon
    # Every request was answered by a student alone, or by the teacher, or by both in an audit.
    assert found.teacher_calls == found.total.n - found.total.answered + found.audits
    assert found.audits > 0


def test_the_teachers_answers_to_answered_requests_are_hidden_from_the_loop(replayed):
    found, kept = replayed
    assert sum(exchange.source == "student" for exchange in kept) == found.total.answered
    assert sum(exchange.source == "teacher" for exchange in kept) == found.teacher_calls
    served = {f"{exchange.id}-audit" for exchange in kept if exchange.source == "student"}
    audits = [exchange for exchange in kept if exchange.student_answer is not None]
    assert len(audits) > found.audits > 0  # what the canary held back audits as well
    assert sum(exchange.id in served for exchange in audits) == found.audits
    assert all(exchange.unbiased for exchange in audits)
    # What was deferred is kept with what the student would have said, apart from audits.
    assert all(exchange.student_guess is None for exchange in audits)
    guesses = [exchange for exchange in kept if exchange.student_guess is not None]
    assert guesses
    assert {exchange.source for exchange in guesses} == {"teacher"}
    assert all(exchange.student for exchange in guesses)
    queues = {exchange.answer.text for exchange in audits}
    assert {exchange.student_guess for exchange in guesses} <= queues


def test_a_canary_starts_small_and_grows(replayed):
    found, kept = replayed
    shares = [e.audit_probability for e in kept if e.student and e.audit_probability < 1]
    assert shares[0] == pytest.approx(0.84)  # four fifths held back, a fifth of the rest audited
    assert min(shares) <= 0.2
    assert found.timeline[-1].latest.coverage > 0.8


def test_without_a_canary_a_student_answers_all_at_once(store, tmp_path):
    rows = exchanges(tmp_path, tickets(600))
    replay(store, rows, LoopSettings(canary=1.0))
    kept = [exchange for _, exchange in store.exchanges()]
    held = [e for e in kept if e.student_answer is not None and not e.id.endswith("-audit")]
    assert not held
    assert any(exchange.source == "student" for exchange in kept)


def test_when_the_world_changes_the_audit_takes_the_student_off(store, tmp_path):
    rows = tickets(600)
    swapped = {"billing": "account", "account": "billing"}
    changed = [
        {**row, "output": swapped.get(row["output"], row["output"])} for row in tickets(300, seed=1)
    ]
    found = replay(store, exchanges(tmp_path, rows + changed), LoopSettings(audit=0.1))
    kinds = [event.kind for moment in found.timeline for event in moment.events]
    assert "demoted" in kinds
    assert kinds.index("demoted") > kinds.index("promoted")


def test_evaluate_counts_what_the_students_would_have_done(store, fill, tmp_path):
    fill(tickets(1_500))
    learn(store, SETTINGS, source="made up")
    fresh = exchanges(tmp_path, tickets(500, seed=9))
    serving = RegistryServing(Registry(store))
    found = evaluate(serving, fresh)
    assert found.total.n == 500
    assert found.total.coverage > 0.85
    (task,) = found.tasks
    assert task.score.answered == found.total.answered
    low, high = found.total.interval
    assert low <= found.total.disagreement <= high
    assert found.total.p50_ms > 0
    by_hand = [serving.decide(e.read()).answer for e in fresh]
    assert found.total.answered == sum(answer is not None for answer in by_hand)
    assert found.total.disagreements == sum(
        answer is not None and answer != e.answer.text
        for answer, e in zip(by_hand, fresh, strict=True)
    )


def test_evaluate_with_nothing_promoted_leaves_all_to_the_teacher(registry, tmp_path):
    found = evaluate(RegistryServing(registry), exchanges(tmp_path, tickets(20)))
    assert found.total.answered == 0
    assert found.total.disagreement is None
    assert found.total.interval == (0.0, 1.0)
    assert found.tasks[0].task == "(no task)"


def test_whoever_watches_a_replay_sees_each_request_and_event(watched):
    rows, found, _, served, told = watched
    assert [one.exchange for one in served] == rows
    assert sum(one.answered for one in served) == found.total.answered > 0
    wrong = sum(one.answered and not one.agrees for one in served)
    assert wrong == found.total.disagreements
    assert sum(one.audited for one in served) == found.audits
    assert told == [event for moment in found.timeline for event in moment.events]
    assert "promoted" in {event.kind for event in told}
