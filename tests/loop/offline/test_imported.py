"""What was learned from a tool's log answers the same requests when they come over the wire."""

import copy
import json
import random

import pytest

from log_shapes import ANSWER, SHAPES, USER
from made_up import QUEUES, ticket, tickets, write_log
from openwheel.importing import LogProblems, line_of, read_log
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.wire import APIS

N = 500
SETTINGS = LoopSettings(rungs=("linear",))


def filled(value, user, answer, time):
    """Return a tool's record with another request, answer and time in it."""
    text = json.dumps(value)
    for old, new in (
        (json.dumps(USER)[1:-1], user),
        (f'"{ANSWER}"', f'"{answer}"'),
        (json.dumps(f'"{ANSWER}"')[1:-1], json.dumps(f'"{answer}"')[1:-1]),
        ("2026-09-21T14:13:20Z", time),
    ):
        text = text.replace(old, new)
    return json.loads(text)


def log_of(shape, n, *, seed):
    """Return records of a tool: tickets whose queue their words give away."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        queue = rng.choice(list(QUEUES))
        moment = f"2026-09-{1 + i // 1440:02}T{i // 60 % 24:02}:{i % 60:02}:00Z"
        row = filled(shape.record, ticket(rng, queue), queue, moment)
        rows.append({"time": moment, **copy.deepcopy(row)})
    return rows


def first_of(name):
    return next(shape for shape in SHAPES if shape.name == name and shape.wire is not None)


@pytest.mark.parametrize(
    "name",
    [
        *("LiteLLM", "Anthropic messages", "Responses", "completions"),
        *(pytest.param(name, marks=pytest.mark.evidence) for name in ("Langfuse", "OpenLLMetry")),
    ],
)
def test_a_student_of_a_log_answers_the_wire(tmp_path, name):
    shape = first_of(name)
    log = write_log(tmp_path / "log.jsonl", log_of(shape, N, seed=1))
    problems = LogProblems()
    with Store.open(tmp_path / "x.db") as store:
        store.append(list(read_log(log, problems=problems)))
        (finding,) = learn(store, SETTINGS, source=name).tasks
        assert finding.certified, finding.reason
        serving = RegistryServing(Registry(store))
        (api,) = {exchange.api for _, exchange in store.exchanges()}
        answered = right = 0
        rng = random.Random(2)
        for _ in range(100):
            queue = rng.choice(list(QUEUES))
            body = filled(shape.wire, ticket(rng, queue), queue, "")
            decision = serving.decide(APIS[api].read_request(json.dumps(body).encode()))
            answered += decision.answer is not None
            right += decision.answer == queue
        assert answered >= 80
        assert right >= 0.95 * answered
        # Another model is the teacher's.
        other = {**filled(shape.wire, ticket(rng, "billing"), "", ""), "model": "other"}
        decision = serving.decide(APIS[api].read_request(json.dumps(other).encode()))
        assert decision.answer is None


def test_a_log_without_times_certifies_nothing_without_a_word(tmp_path):
    log = write_log(tmp_path / "log.jsonl", tickets(N), timed=False)
    with Store.open(tmp_path / "x.db") as store:
        store.append(list(read_log(log, problems=LogProblems())))
        (finding,) = learn(store, SETTINGS, source="log").tasks
        assert not finding.certified
        assert "--in-order" in finding.reason
        # The word may be given later.
        ids = [exchange.id for _, exchange in store.exchanges()]
        assert store.vouch(ids) == N
        assert store.vouch(ids) == 0
        (finding,) = learn(store, SETTINGS, source="log").tasks
        assert finding.certified


def test_a_newest_first_log_is_learned_in_the_order_of_its_times(tmp_path):
    """The teacher swapped two queues in the last quarter: the gate must see that."""
    rows = log_of(first_of("Langfuse"), 800, seed=3)
    swapped = {"billing": "delivery", "delivery": "billing"}
    for row in rows[600:]:
        row["output"]["content"] = swapped.get(row["output"]["content"], row["output"]["content"])
    for row in rows:
        del row["time"]
    log = write_log(tmp_path / "log.jsonl", rows[::-1], timed=False)
    problems = LogProblems()
    with Store.open(tmp_path / "x.db") as store:
        store.append(list(read_log(log, problems=problems)))
        assert problems.reordered == 800
        times = [exchange.time for _, exchange in store.exchanges()]
        assert times == sorted(times)
        (finding,) = learn(store, SETTINGS, source="log").tasks
        assert not finding.certified


def test_a_store_written_out_reads_back_the_same(tmp_path):
    log = write_log(tmp_path / "log.jsonl", [shape.record for shape in SHAPES])
    with Store.open(tmp_path / "a.db") as one, Store.open(tmp_path / "b.db") as two:
        one.append(list(read_log(log, problems=LogProblems())))
        before = [exchange for _, exchange in one.exchanges()]
        out = tmp_path / "out.jsonl"
        out.write_bytes(b"".join(line_of(exchange) + b"\n" for exchange in before))
        two.append(list(read_log(out, strict=True, problems=LogProblems())))
        after = [exchange for _, exchange in two.exchanges()]
    assert len(before) == len(SHAPES)
    assert sorted(after, key=lambda e: e.id) == sorted(before, key=lambda e: e.id)
