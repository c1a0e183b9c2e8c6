"""A teacher becomes another model behind its address, while gateway, learner and clients run."""

import json
import random
from collections.abc import Iterator

import pytest

from cli.runner import run
from made_up import QUEUES, ticket
from teacher import Asked, Teacher, replies


class Sorter:
    """Sorts tickets under a name that can change."""

    model = "big-1"

    def answer(self, asked: Asked) -> bytes:
        words = json.loads(asked.body)["messages"][-1]["content"].split()
        queue = max(QUEUES, key=lambda name: sum(word in QUEUES[name].split() for word in words))
        message = {"role": "assistant", "content": queue}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        named = {"model": self.model, "system_fingerprint": "fp_1"}
        return json.dumps({**named, "choices": [choice]}).encode()


@pytest.fixture
def sorter() -> Iterator[Sorter]:
    sorter = Sorter()
    with Teacher(replies(sorter.answer)) as teacher:
        sorter.url = teacher.url
        yield sorter


@pytest.mark.evidence
@pytest.mark.parametrize("anew", [False, True])
def test_a_student_is_taken_off_and_certified_anew(up, wait_for, sorter, learned, anew):
    def shown(command):
        return json.loads(run(command, "--json", cwd=learned).stdout)[command]

    # Other tests may keep the processors busy.
    (learned / "openwheel.toml").write_text("[loop]\nturn_nice = 0\n")
    gateway = up("--teacher", sorter.url, "--workers", "2")
    rng = random.Random(4)

    def sources(n):
        """Return who answered some tickets, each a worker's on a connection of its own."""
        asked = [gateway.ask(ticket(rng, rng.choice(list(QUEUES)))) for _ in range(n)]
        assert all(response.status == 200 for response in asked)
        return {response.headers["x-openwheel-source"] for response in asked}

    wait_for(lambda: "student" in sources(5))
    sources(100)  # the log named no model: the first that is named is no change
    assert shown("audits")[0]["teacher"]["changes"] == []
    assert "student" in sources(5)

    sorter.model = "big-2"
    wait_for(lambda: sources(20) == {"teacher"}, seconds=60)
    (task,) = shown("audits")
    (change,) = task["teacher"]["changes"]
    assert (change["kind"], change["model"], change["did"]) == ("model", "big-2", "demoted")
    said = "[turn] messages: demoted. the teacher changed: another model, big-2"
    wait_for(lambda: said in gateway.log)  # told once it is done

    if not anew:
        return
    wait_for(lambda: "student" in sources(20), seconds=300)
    first, second = shown("certificates")
    assert second["student"] == first["student"]
    assert second["delta_spent"] < first["delta_spent"]
    assert second["calibration_window"]["first_seq"] > change["after_seq"]
    assert len(shown("audits")[0]["teacher"]["changes"]) == 1
