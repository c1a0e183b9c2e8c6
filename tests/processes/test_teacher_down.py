"""The teacher is killed and started again under a gateway of real workers."""

import json
import os
import signal
import threading
from collections import Counter

import anthropic
import openai
import pytest

from made_up import QUEUES
from openwheel.loop.records import AuditPlan
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.store import Store, promotions
from openwheel.store.feedback import FeedbackStore
from openwheel.wire import APIS
from teacher import TeacherProcess

EASY = "invoice payment refund tax amount 4711"
WAIT = """
[gateway]
teacher_wait = {wait}
best_effort = {best_effort}
"""


@pytest.fixture
def mortal():
    with TeacherProcess("teacher:says") as teacher:
        teacher.start("billing")
        yield teacher


def settle(folder, *, wait=0.0, best_effort=False, more=""):
    text = WAIT.format(wait=wait, best_effort=str(best_effort).lower()) + more
    (folder / "openwheel.toml").write_text(text)


def unsure_of(folder):
    """Return a text of which the promoted student is too unsure, and what it would answer."""
    words = [queue.split() for queue in QUEUES.values()]
    with Store.open(folder / "openwheel.db") as store:
        serving = RegistryServing(Registry(store))
        pairs = [(a, b) for first in words for a in first for other in words for b in other]
        for text in (f"{a} {b} {more}" for more in ("please", "the my help") for a, b in pairs):
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
            decision = serving.decide(APIS["chat"].read_request(body.encode()))
            if decision.below_threshold_answer is not None and decision.reason == "confidence":
                return text, decision.below_threshold_answer
    raise AssertionError("It is sure of everything")


def said(text):
    return [{"role": "user", "content": text}]


def clients(gateway):
    return (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0),
        anthropic.Anthropic(base_url=gateway.url, api_key="x", max_retries=0),
    )


def test_students_answer_meanwhile_with_best_effort_labelled(
    up, mortal, learned, tmp_path, wait_for
):
    text, guess = unsure_of(tmp_path)
    settle(tmp_path, best_effort=True)
    gateway = up("--teacher", mortal.url, "--no-turns")
    open_ai, claude = clients(gateway)
    ask = open_ai.chat.completions.with_raw_response.create
    with open_ai, claude:
        assert ask(model="m", messages=said(text)).headers["x-openwheel-source"] == "teacher"
        mortal.kill()
        whole = ask(model="m", messages=said(text))
        assert whole.headers["x-openwheel-source"] == "best-effort"
        assert 0 < float(whole.headers["x-openwheel-confidence"]) < 1
        assert whole.parse().choices[0].message.content == guess
        with open_ai.chat.completions.with_streaming_response.create(
            model="m", messages=said(text), stream=True
        ) as streamed:
            assert streamed.headers["x-openwheel-source"] == "best-effort"
            parts = [chunk.choices[0].delta.content or "" for chunk in streamed.parse()]
        assert "".join(parts) == guess
        other = claude.messages.with_raw_response.create(
            model="m", messages=said(text), max_tokens=9
        )
        assert other.headers["x-openwheel-source"] == "best-effort"
        assert other.parse().content[0].text == guess
        easy = ask(model="m", messages=said(EASY))
        assert easy.headers["x-openwheel-source"] == "student"
        with pytest.raises(openai.InternalServerError):
            ask(model="m", messages=said(text), n=2)
        report = json.loads(gateway.get("/healthz"))
        assert report["best_effort"] == {"*": True}

        identity = whole.parse().id
        with Store.open(tmp_path / "openwheel.db") as store:
            wait_for(lambda: store.last_seq() >= 1_200 + 5)
            wait_for(lambda: "openwheel_teacher_down" in gateway.get("/metrics"))
            path = "/feedback"
            open_ai.post(path, cast_to=object, body={"id": identity, "correction": "account"})
            (spoken,) = FeedbackStore(store).latest()
            assert spoken.correction == "account"
            kept = [one for _, one in store.exchanges(after=1_200)]
        sources = Counter(one.source for one in kept)
        assert sources == {"teacher": 1, "best_effort": 3, "student": 1}
        assert not any(one.unbiased for one in kept if one.source != "teacher")

        mortal.start("billing")
        again = ask(model="m", messages=said(text))
        assert again.headers["x-openwheel-source"] == "teacher"
    assert gateway.stop() == 0
    assert "Best effort" in gateway.log
    assert "Traceback" not in gateway.log


def test_what_the_canary_holds_back_is_answered_and_is_no_audit(
    up, mortal, learned, tmp_path, wait_for
):
    settle(tmp_path, more="[loop]\ncanary = 0.01\n")
    with Store.open(tmp_path / "openwheel.db") as store:
        ((_, promotion),) = Registry(store).promotions().items()
        with store.write() as connection:
            promotions.add_plan(connection, promotion.since, AuditPlan(audit=0.05, canary=0.01))
    gateway = up("--teacher", mortal.url, "--no-turns")
    mortal.kill()
    answers = [gateway.ask(f"{EASY} {n}") for n in range(10)]
    assert {one.status for one in answers} == {200}
    assert {one.headers["x-openwheel-source"] for one in answers} == {"student"}
    assert "teacher_unreachable" in {one.headers["x-openwheel-fallback"] for one in answers}
    with Store.open(tmp_path / "openwheel.db") as store:
        wait_for(lambda: store.last_seq() >= 1_200 + 10)
        kept = [one for _, one in store.exchanges(after=1_200)]
    assert {(one.source, one.unbiased) for one in kept} == {("student", False)}
    assert {one.student_answer for one in kept} == {None}
    assert gateway.stop() == 0


def test_under_load_only_what_was_sent_is_lost_when_a_teacher_is_killed_and_started_again(
    up, mortal, load, tmp_path
):
    settle(tmp_path, wait=300)
    gateway = up("--teacher", mortal.url, "--workers", "2", "--no-turns", "--log-level", "error")
    with load(gateway, clients=6) as asking:
        for _ in range(3):
            asking.more(100)
            mortal.kill()
            mortal.start("billing")
        asking.more(100)
    assert gateway.stop() == 0
    # What was sent to a teacher that was killed may have been begun, and is not sent again; no
    # request failed for want of a connection.
    errors = [json.loads(body)["error"] for _, body in asking.failed.values()]
    assert {error["code"] for error in errors} <= {"teacher_unreachable"}
    assert all("broke off" in error["message"] for error in errors)
    assert set(gateway.stored().values()) == {1}
    assert set(gateway.stored()) == set(asking.answered)


@pytest.mark.parametrize(
    "how", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.evidence)]
)
def test_workers_that_are_to_end_let_nothing_wait(up, mortal, tmp_path, wait_for, how):
    settle(tmp_path, wait=300)
    gateway = up("--teacher", mortal.url, "--no-turns")
    mortal.kill()
    got = []
    asking = threading.Thread(target=lambda: got.append(gateway.ask("anything")))
    asking.start()
    wait_for(lambda: json.loads(gateway.get("/healthz"))["waiting"] == 1)
    os.kill(gateway.process.pid, how)
    asking.join()
    [answer] = got
    assert answer.status == 502
    assert json.loads(answer.data)["error"]["code"] == "teacher_unreachable"
    if how == signal.SIGHUP:
        mortal.start("billing")
        assert gateway.ask("another").status == 200
        assert gateway.stop() == 0
    else:
        assert gateway.process.wait(timeout=30) == 0
