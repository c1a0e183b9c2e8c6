"""Typed questions with the official client, unchanged, against ``openwheel up``."""

import json
import random

import openai
import pytest

from cli.test_up import gateway
from loop.turn.test_decisions import QUEUE, SETTINGS, URGENT, exchanges
from made_up import QUEUES, ticket
from openwheel.loop.turn.turn import turn
from openwheel.store import Store
from teacher import Teacher, respond
from wire.decisions import answering

EMPTY = {"type": "predicate", "name": "paid", "instructions": "Is it about a payment?"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with a store in which a choice and a score were learned."""
    made = tmp_path_factory.mktemp("decided")
    with Store.open(made / "openwheel.db") as store:
        store.append(exchanges(700, QUEUE, URGENT))
        turn(store, SETTINGS)
    return made


def client_of(url):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def ask(client, text, *questions):
    return client.decisions.with_raw_response.create(
        model="gpt-6-luna", input=text, questions=questions
    )


def texts(n=30):
    rng = random.Random(11)
    return [ticket(rng, rng.choice(list(QUEUES))) for _ in range(n)]


def test_questions_certified_before_are_answered_without_a_teacher(folder):
    with gateway(folder, "--no-turns") as url, client_of(url) as client:
        answered, refused = [], []
        for text in texts():
            try:
                answered.append(ask(client, text, QUEUE, URGENT))
            except openai.NotFoundError as error:
                refused.append(error)
        assert len(answered) > 15
        for raw in answered:
            decision = raw.parse()
            queue, urgency = decision.answers
            assert queue.type == "choice"
            assert queue.choice in QUEUES
            assert {one.value for one in queue.probabilities} == set(QUEUES)
            assert sum(one.probability for one in queue.probabilities) == pytest.approx(1, abs=1e-4)
            assert [one.label for one in urgency.probabilities] == ["calm", "annoyed", "furious"]
            assert urgency.score == pytest.approx(
                sum(one.value * one.probability for one in urgency.probabilities), abs=1e-4
            )
            assert decision.usage.total_tokens == 0
            assert raw.headers["x-openwheel-source"] == "student"
        for error in refused:
            assert error.code == "no_teacher"
        with pytest.raises(
            openai.NotFoundError, match=r"Is it about a payment.*no student is cert"
        ):
            ask(client, texts()[0], QUEUE, EMPTY)
    assert "There is no teacher. Certified students answer" in (folder / "gateway.log").read_text()


def test_the_rest_is_forwarded_joined_and_refused_as_the_teacher_does(folder):
    said = respond(answering("decisions", 0))
    with (
        Teacher(said) as teacher,
        gateway(folder, "--no-turns", "--teacher", teacher.url) as url,
        client_of(url) as client,
    ):
        sources = set()
        for text in texts():
            teacher.received.clear()
            raw = ask(client, text, EMPTY)
            assert raw.content == answering("decisions", 0)
            assert raw.parse().answers[0].probability == 0.98
            raw = ask(client, text, EMPTY, QUEUE)
            bodies = [json.loads(one.body)["questions"] for one in teacher.received]
            if raw.headers["x-openwheel-source"] == "mixed":  # audits come by themselves
                types = [[one["type"] for one in asked] for asked in bodies]
                assert [asked for asked in types if asked != ["choice"]] == [["predicate"]] * 2
                paid, queue = raw.parse().answers
                assert (paid.probability, queue.choice in QUEUES) == (0.98, True)
            sources.add(raw.headers["x-openwheel-source"])
            if {"mixed", "teacher"} <= sources:
                break
        assert "mixed" in sources
        sent = json.loads(answering("decisions", 0))
        sent["answers"] = [{"type": "refusal", "name": "paid"}]
        teacher.answers(json.dumps(sent).encode())
        assert ask(client, "x", EMPTY).parse().answers[0].type == "refusal"
        teacher.answers(b'{"error":{"message":"no such model","code":"x"}}', status=400)
        with pytest.raises(openai.BadRequestError, match="no such model"):
            ask(client, "x", EMPTY)
