import random

import msgspec
import pytest

from made_up import QUEUES, ticket, tickets, write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.audit.records import FEWEST, LATEST, coverage_now
from openwheel.loop.audit.status import audit_status
from openwheel.loop.offline.learn import learn
from openwheel.loop.offline.replay import replay
from openwheel.loop.records import Turn
from openwheel.loop.serving import SHADOW_AUDIT, RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.wire import Answer, Prompt, PromptMessage, Request

SETTINGS = LoopSettings()
EASY = Request(
    prompt=Prompt(messages=(PromptMessage("user", "invoice payment refund tax amount 4711"),))
)


def log(tmp_path, rows):
    return list(
        read_log(write_log(tmp_path / "log.jsonl", rows), in_order=True, problems=LogProblems())
    )


def asked(store, registry, n: int, kind: str) -> None:
    """Put requests of the one task into the store: answered, held back by the canary, or left."""
    (promotion,) = registry.promotions().values()
    newest = store.last_seq()
    (_, made_of), *_ = store.exchanges(task_id=promotion.task_id)
    student = promotion.certificate.student
    beside = {"source": "teacher", "student": student, "student_answer": "billing"}
    fields = {
        "answered": {"source": "student", "student": student, "unbiased": False},
        "held back": beside,
        "audit": beside,
        "left": {"source": "teacher"},
    }[kind] | {"answer": Answer("billing")}
    end = "-audit" if kind == "audit" else ""
    store.append(
        [msgspec.structs.replace(made_of, id=f"{newest + i}{end}", **fields) for i in range(n)]
    )
    assign_new(store, registry, after=newest)


@pytest.mark.evidence
def test_a_student_that_answers_nothing_any_more_keeps_no_better_one_out(store, tmp_path):
    """The same 24 texts again and again, then new ones only."""
    rng = random.Random(1)
    texts = [(ticket(rng, queue), queue) for queue in QUEUES for _ in range(6)]
    rows = [{"input": text, "output": queue} for text, queue in rng.choices(texts, k=800)]
    new = tickets(1_300, seed=2, noise=0.01)
    served = []
    replay(store, log(tmp_path, [*rows, *new]), SETTINGS, each=served.append)
    assert sum(one.answered for one in served[400:800]) > 200
    assert sum(one.answered for one in served[-400:]) > 200


def test_coverage_is_of_the_latest_requests(store, registry, fill):
    fill(tickets(1_500))
    learn(store, SETTINGS, source="made up")
    (promotion,) = registry.promotions().values()
    certified = promotion.certificate.coverage
    asked(store, registry, FEWEST - 1, "left")
    assert coverage_now(registry, promotion) == certified  # too few say nothing
    asked(store, registry, 1, "left")
    assert coverage_now(registry, promotion) == 0
    asked(store, registry, FEWEST // 2, "answered")
    asked(store, registry, FEWEST // 2, "audit")  # of the same requests
    asked(store, registry, FEWEST // 2, "held back")
    assert coverage_now(registry, promotion) == 0.5
    (status,) = audit_status(store)
    assert status.coverage == 0.25  # what the teacher answered is not answered by a student
    asked(store, registry, LATEST, "answered")
    assert coverage_now(registry, promotion) == 1
    assert audit_status(store)[0].coverage == 1
    registry.demote(promotion.task_id, by="user", reason="by hand")
    assert coverage_now(registry, registry.promotions()[promotion.task_id]) == 0


def test_a_better_student_waits_with_more_audits_where_the_promoted_one_answers_little(
    store, registry, fill
):
    fill(tickets(1_500))
    learn(store, SETTINGS, source="made up")
    ((candidate, _, _),) = registry.candidates()
    waiting = msgspec.structs.replace(candidate, id="shadow", coverage=0.5, enough=300)
    registry.add_candidate(waiting)
    worker = RegistryServing(registry)
    assert worker.decide(EASY).audit_probability < SHADOW_AUDIT
    asked(store, registry, FEWEST, "left")
    registry.add_turn(Turn(0, ()), 0.0)
    assert worker.refresh()
    assert worker.decide(EASY).audit_probability == SHADOW_AUDIT
