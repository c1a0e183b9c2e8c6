"""TypeSafe's SDK for Python, unchanged, against ``openwheel up``."""

import json
import random
import subprocess

import pytest

from cli.test_up import gateway
from clients.conftest import HERE
from loop.turn.test_decisions import QUEUE, SETTINGS, exchanges
from made_up import QUEUES, ticket
from openwheel.loop.turn.turn import turn
from openwheel.store import Store
from teacher import Teacher, respond
from wire.decisions import NAMES, answering


async def script(asked, writer):
    """Answer as TypeSafe does; one state it refuses to read."""
    if b"refuse this" in asked.body:
        detail = [{"loc": ["body", "state"], "msg": "Not this", "type": "value_error"}]
        writer.write(respond(json.dumps({"detail": detail}).encode(), status=422))
        return
    names = NAMES[:1]
    if "content-encoding" not in asked.headers:
        names = [name for name in NAMES if name in json.loads(asked.body)["questions"]]
    body = answering("systemone", *(NAMES.index(name) for name in names))
    writer.write(respond(body, "x-typesafe-request-id: req_teacher"))


@pytest.fixture(scope="module")
def seen(environment, tmp_path_factory):
    """Run the script against a gateway whose one student answers a choice."""
    python = environment("typesafe") / "bin" / "python"
    folder = tmp_path_factory.mktemp("typesafe")
    with Store.open(folder / "openwheel.db") as store:
        # Learned in the other API: it is the same question.
        store.append(exchanges(700, QUEUE))
        turn(store, SETTINGS)
    rng = random.Random(11)
    texts = [ticket(rng, rng.choice(list(QUEUES))) for _ in range(30)]
    with (
        Teacher(script) as teacher,
        gateway(folder, "--no-turns", "--teacher", teacher.url) as url,
    ):
        done = subprocess.run(
            [
                str(python),
                str(HERE / "scripts" / "typesafe_client.py"),
                url.removesuffix("/v1"),
                QUEUE["instructions"],
                ",".join(QUEUES),
                *texts,
            ],
            env={},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), teacher.received


def test_a_student_answers_with_its_probabilities(seen):
    by_student = [one for one in seen[0]["choice"] if one["source"] == "student"]
    assert by_student
    for one in by_student:
        queue = one["answers"]["queue"]
        assert queue["choice"] in QUEUES
        assert set(queue["probabilities"]) == set(QUEUES)
        assert sum(queue["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert queue["confidence"] == queue["probabilities"][queue["choice"]]
        assert (one["model"], one["tokens"]) == ("gpt-6-luna", 0)
        assert len(one["request_id"]) == 32


def test_students_and_teacher_share_a_request(seen):
    mixed = [one for one in seen[0]["mixed"] if one["source"] == "mixed"]
    assert mixed
    for one in mixed:
        assert list(one["answers"]) == ["paid", "queue"]
        assert one["answers"]["paid"] == {"type": "noul", "noul": 0.98}
        assert one["answers"]["queue"]["choice"] in QUEUES
        assert (one["model"], one["tokens"]) == ("big-1", 61)


def test_what_no_student_knows_is_the_teachers(seen):
    one = seen[0]["forwarded"]
    assert one["answers"]["paid"]["noul"] == 0.98
    assert one["answers"]["urgency"]["score"] == 1.6
    assert one["answers"]["urgency"]["legend"] == {"0": "can wait", "1": "soon", "2": "now"}
    assert (one["source"], one["request_id"]) == ("teacher", "req_teacher")


def test_a_compressed_request_is_answered(seen):
    assert seen[0]["compressed"]["answers"]["paid"]["noul"] == 0.98
    [asked] = [one for one in seen[1] if one.headers.get("content-encoding") == "zstd"]
    assert asked.body.startswith(b"\x28\xb5\x2f\xfd")  # as it was sent


def test_a_refusal_is_the_sdks_error(seen):
    error = seen[0]["refused"]
    assert (error["class"], error["status"]) == ("TypeSafeUnprocessableEntityError", 422)
    assert "state: Not this" in error["text"]


def test_many_at_once(seen):
    assert [one["answers"]["queue"]["type"] for one in seen[0]["at once"]] == ["choice"] * 30
