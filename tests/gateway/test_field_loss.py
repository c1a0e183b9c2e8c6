"""A task of records whose loss is the share of wrong fields, from learning to an alarm."""

import json
import random

import msgspec
import pytest

from made_up_records import orders
from openwheel.gate import verify
from openwheel.loop.audit.status import audit_status
from openwheel.loop.audit.step import audit
from openwheel.loop.feedback.accuracy import accuracy
from openwheel.loop.feedback.desk import FeedbackDesk, read_feedback
from openwheel.loop.offline.evaluate import evaluate
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.settings import TaskSection
from openwheel.store import Store
from openwheel.store.exchange import Exchange
from openwheel.teachers import RecordedTeacher
from openwheel.wire import Answer

from .apis import PATHS, request_of

FIELDS = {"note": ("ignore",), "items": ("set",), "customer.name": ("case",)}
SETTINGS = LoopSettings(
    rungs=("linear",), tasks={"messages": TaskSection(loss="fields", fields=FIELDS)}
)


def exchanges(rows, *, name="e", start=0):
    return [
        Exchange(
            id=f"{name}{i}",
            time=1.7e9 + start + i,
            request=request_of("chat", row["input"]),
            answer=Answer(row["output"]),
            source="log",
            model="m",
        )
        for i, row in enumerate(rows)
    ]


def careless(rows, seed, wrong=0.12):
    """Return rows of a teacher that mistakes the kind at times, and writes what nobody reads."""
    rng = random.Random(seed)
    made = []
    for row in rows:
        record = json.loads(row["output"]) | {"note": rng.choice(["ok", "fine", "well"])}
        if rng.random() < wrong:
            record["kind"] = rng.choice(["order", "refund", "complaint"])
        record["items"] = rng.sample(record["items"], len(record["items"]))
        made.append({"input": row["input"], "output": json.dumps(record)})
    return made


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("store") / "openwheel.db") as store:
        store.append(exchanges(careless(orders(700), 1)))
        finding = learn(store, SETTINGS, source="made up").tasks[0]
        assert finding.certified, finding.reason
        assert "% of fields)" in finding.reason
        yield Registry(store)


@pytest.mark.evidence
def test_by_whole_records_it_is_refused_and_the_field_named(tmp_path):
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append(exchanges(careless(orders(700), 1)))
        whole = msgspec.structs.replace(SETTINGS, tasks={"messages": TaskSection(fields=FIELDS)})
        finding = learn(store, whole, source="made up").tasks[0]
        assert not finding.certified
        assert "'kind'" in finding.reason
        assert "'note'" not in finding.reason


def test_its_certificate_says_what_was_counted(learned):
    [certificate] = learned.certificates()
    assert certificate.method == "betting"
    assert certificate.by_fields
    assert certificate.compared.fields == FIELDS
    assert "more than 5.00% of the fields of an answer wrong" in certificate.statement
    assert certificate.observed < certificate.calibration.disagreements / 400
    assert verify(certificate).holds, verify(certificate).problems
    assert {part.field for part in certificate.fields} == {
        "kind", "customer.name", "count", "items", "due", "source",
    }  # fmt: skip
    assert certificate.fields[0].field == "kind"
    # Another loss would be another promise.
    for changed in (
        msgspec.structs.replace(certificate, compared=None),
        msgspec.structs.replace(
            certificate, compared=msgspec.structs.replace(certificate.compared, loss="")
        ),
        msgspec.structs.replace(certificate, observed=certificate.observed / 2).sealed(),
        msgspec.structs.replace(certificate, method="binomial").sealed(),
    ):
        assert not verify(changed).holds
    # Even where each loss happened to be 0 or 1: the test is chosen before.
    whole = tuple(
        msgspec.structs.replace(test, partial=(), partial_with_repeats=())
        for test in certificate.tests
    )
    chosen = msgspec.structs.replace(certificate, method="binomial", tests=whole).sealed()
    assert "a share of wrong fields may be another" in " ".join(verify(chosen).problems)


def test_it_is_evaluated_by_the_same_loss(learned):
    score = evaluate(
        RegistryServing(learned), exchanges(careless(orders(150, seed=7), 7), name="v")
    ).total
    assert score.loss == "fields"
    assert score.answered > 75
    # A wrong kind is one of six fields.
    assert score.disagreement == pytest.approx(score.disagreements / score.answered / 6, rel=0.3)
    low, high = score.interval
    assert low < score.disagreement < high < 0.08


def test_a_task_is_certified_audited_and_taken_off_by_its_share_of_wrong_fields(
    gateway, http, learned
):
    store = learned.store
    serving = RegistryServing(learned)
    decide = serving.decide

    def audited(request, task="", key=""):
        return msgspec.structs.replace(decide(request, task, key), audit_probability=1.0)

    serving.decide = audited

    def serve(rows, name):
        """Send requests whose teacher answers with these rows; keep what the gateway captures."""
        running = gateway(RecordedTeacher(exchanges(rows)), serving)
        for row in rows:
            reply = http("POST", running.url + PATHS["chat"], request_of("chat", row["input"]))
            assert reply.status == 200, reply.data
        answered = sum(decide(one.read()).answer is not None for one in exchanges(rows, name=name))
        store.append(running.exchanges(len(rows) + answered))
        until = assign_new(store, learned, after=0)
        return answered, audit(store, learned, SETTINGS, until=until)

    answered, events = serve(careless(orders(60, seed=11), 11), "good")
    assert events == []
    [status] = audit_status(store)
    assert status.by_fields
    assert status.audits == answered > 30
    assert 0 < status.loss < 3
    assert status.loss == pytest.approx(len(status.disagreed) / 6, rel=0.3)

    # A correction of one field leaves both right in the other five.
    served = next(one for _, one in store.exchanges() if one.source == "student")
    right = json.loads(served.answer.text) | {"count": 7, "note": "mended"}
    correction = {"id": served.id, "correction": json.dumps(right)}
    FeedbackDesk(store).take(read_feedback(json.dumps(correction).encode()), None)
    [found] = accuracy(store)
    assert found.student.n == 1
    assert found.student.right == pytest.approx(5 / 6, abs=0.05)

    turned = careless(orders(60, seed=12), 12)
    for row in turned:  # half of the fields are others now
        record = json.loads(row["output"])
        row["output"] = json.dumps(record | {"kind": "new", "source": "web", "count": 0})
    _, events = serve(turned, "bad")
    assert [event.kind for event in events] == ["demoted"]
    assert "audited answers disagreed with the teacher by " in events[0].reason
