"""Odd requests of one key do not make a task hard to learn for all: it is left out by name."""

import json
import random

import msgspec
import numpy as np
import pytest

from made_up import tickets
from openwheel.access import KeyStore
from openwheel.gate import verify
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import Decision, RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.choose import Stream
from openwheel.loop.turn.outsiders import misfits, trusted_keys
from openwheel.loop.turn.turn import turn
from openwheel.settings import TaskSection
from openwheel.store import Exchange, Store
from openwheel.tasks import infer_form
from openwheel.wire import APIS, Answer

HONEST, ODD = "desk", "prankster"


def odd_answer(kind: str, rng: random.Random, queue: str) -> str:
    if kind == "unique":
        return f"code {rng.getrandbits(30):x}"
    if kind == "shape":
        return json.dumps({"queue": queue, "n": rng.randrange(10**6)})
    return rng.choice(["billing", "delivery", "account", "product"])


def traffic(
    kind: str, odd: int, *, key: str = ODD, honest: int = 1_000, late: bool = False
) -> list[Exchange]:
    """Return exchanges of two keys in one task, the odd ones all over, or last."""
    rng = random.Random(5)
    rows = [(row["input"], row["output"], HONEST) for row in tickets(honest)]
    more = [
        (row["input"], odd_answer(kind, rng, row["output"]), key) for row in tickets(odd, seed=9)
    ]
    if late:
        tail = rows[len(rows) - 4 * odd :] + more
        rng.shuffle(tail)
        rows = rows[: len(rows) - 4 * odd] + tail
    else:
        rows += more
        rng.shuffle(rows)
    return [
        Exchange(
            id=f"e{i}",
            time=1.7e9 + 60 * i,
            request=body(text),
            answer=Answer(answer),
            source="teacher",
            model="m",
            teacher="big",
            key=sender,
        )
        for i, (text, answer, sender) in enumerate(rows)
    ]


def body(text: str) -> bytes:
    messages = [{"role": "user", "content": f"Name the queue: {text}"}]
    return json.dumps({"model": "m", "messages": messages}).encode()


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "openwheel.db") as store:
        yield store


@pytest.mark.parametrize(("kind", "odd"), [("unique", 70), ("shape", 45), ("lies", 60)])
def test_one_key_with_odd_answers_is_left_to_the_teacher_and_all_others_are_served(
    store, kind, odd
):
    store.append(traffic(kind, odd))
    (finding,) = learn(store, LoopSettings(), source="traffic").tasks
    assert (finding.form, finding.certified) == ("label", True)
    assert finding.coverage > 0.9
    assert any(f"the key '{ODD}' are left to the teacher" in text for text in finding.warnings)
    registry = Registry(store)
    (promotion,) = registry.promotions().values()
    certificate = promotion.certificate
    assert certificate.deferred_keys == (ODD,)
    assert verify(certificate).holds
    serving = RegistryServing(registry)
    serving.refresh()
    new = [APIS["chat"].read_request(body(row["input"])) for row in tickets(40, seed=3)]
    assert {serving.decide(request, key=ODD).reason for request in new} == {"key"}
    served = [serving.decide(request, key=HONEST).answer for request in new]
    assert sum(answer is not None for answer in served) > 30
    # Another key, which nothing is known of, is served like the others.
    assert served == [serving.decide(request, key="new").answer for request in new]


def test_turns_leave_such_a_key_out_too_and_say_so(store):
    store.append(traffic("unique", 70))
    events = turn(store, LoopSettings()).events
    assert any(event.kind == "left" and f"'{ODD}'" in event.reason for event in events)
    (candidate,) = [found for found, _, _ in Registry(store).candidates()]
    assert candidate.outside == (ODD,)
    assert [event.kind for event in events][-1] == "promoted"


def test_a_key_is_not_left_out_for_what_it_got_after_training(store):
    # What calibration exchanges show counts: leaving keys out for it would choose the evidence.
    store.append(traffic("unique", 60, late=True))
    (finding,) = learn(store, LoopSettings(), source="traffic").tasks
    assert not finding.certified
    assert not any("are left to the teacher" in text for text in finding.warnings)


def test_settings_and_trust_overrule(store):
    store.append(traffic("unique", 70))
    settings = LoopSettings()
    learn(store, settings, source="traffic")
    name = Registry(store).tasks()[0].task.name
    KeyStore(store).create(ODD, trust="high")
    assert trusted_keys(Registry(store)) == {ODD}
    stream = Stream(
        np.full(200, 0.9),
        np.array([0.0] * 180 + [1.0] * 20),
        [HONEST] * 150 + ["other"] * 30 + [ODD] * 20,
    )
    found = misfits(stream, settings, inside=(), most=50)
    assert [(one.key, one.exchanges, one.disagreements) for one in found] == [(ODD, 20, 20)]
    assert misfits(stream, settings, inside={ODD}, most=50) == []
    # Those of whom there is too much to leave them out are the task.
    assert misfits(stream, settings, inside=(), most=19) == []
    chosen = {name: TaskSection(keys_outside=(ODD,))}
    settings = msgspec.structs.replace(settings, tasks=chosen)
    with Store.open(store.path.with_name("other.db")) as other:
        other.append(
            [
                msgspec.structs.replace(one, key=ODD) if i % 9 == 0 else one
                for i, one in enumerate(traffic("unique", 0))
            ]
        )
        (finding,) = learn(other, settings, source="traffic").tasks
        assert "as the settings say (keys_outside)" in finding.warnings[0]
        assert finding.certified


@pytest.mark.parametrize("share", [0.06, 0.12])
def test_a_few_odd_answers_without_keys_do_not_turn_labels_into_text(share):
    labels = ["billing", "delivery", "account", "product"]
    answers = [Answer(labels[i % 4]) for i in range(1_000)]
    odd = [Answer(f"code {i}") for i in range(int(1_000 * share))]
    long = [Answer(f"I would say, on the whole, that number {i} " * 4) for i in range(len(odd))]
    calls = [Answer(json.dumps({"n": i})) for i in range(len(odd))]
    for some in (odd, long, calls):
        found = infer_form(answers + some)
        assert found.form == "label"
    assert infer_form(answers + odd * 4).form == "label"  # each of them four times
    assert infer_form(answers + [Answer(f"code {i}") for i in range(300)]).form == "text"


def test_the_gateway_tells_who_asks(by_path, guarded, ask):
    asked = []

    class Spy:
        def refresh(self):
            return False

        def students(self):
            return {}

        def broken(self):
            return {}

        def decide(self, request, task="", key=""):
            asked.append(key)
            return Decision(reason="no task")

    running = guarded(serving=Spy())
    _, secret = running.key(ODD)
    message = {"role": "user", "content": "where is it?"}
    ask(running, "POST", "/v1/chat/completions", secret, model="m", messages=[message])
    assert set(asked) == {ODD}
