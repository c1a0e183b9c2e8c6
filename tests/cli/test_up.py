"""``openwheel up`` with the official client, unchanged: answered by teacher and by student."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import openai
import pytest

from cli.runner import run, run_process
from made_up import tickets, write_log

EAGER = "[loop]\nturn_nice = 0\n"
"""Settings of turns that get their share of processors that other tests keep busy."""


@contextlib.contextmanager
def gateway(folder, *arguments):
    command = [sys.executable, "-m", "openwheel", "up", "--port", "0", *arguments]
    log = (folder / "gateway.log").open("w")
    with (
        log,
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, (folder / "gateway.log").read_text()
            yield found.group()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
    assert process.returncode == 0, (folder / "gateway.log").read_text()


def ask(client, text, **options):
    return client.chat.completions.with_raw_response.create(
        model="teacher-large", messages=[{"role": "user", "content": text}], **options
    )


def sources(url, rows):
    """Ask as a client of no library does, which is quicker; return who answered."""
    address = urllib.parse.urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=30)) as client:
        for row in rows:
            message = {"role": "user", "content": row["input"]}
            body = json.dumps({"model": "teacher-large", "messages": [message]})
            client.request("POST", f"{address.path}/chat/completions", body)
            response = client.getresponse()
            response.read()
            yield response.headers["x-openwheel-source"]


def until_a_student_answers(folder, url, row, *, seconds):
    deadline = time.monotonic() + seconds
    while [*sources(url, [row])] != ["student"]:
        assert time.monotonic() < deadline, (folder / "gateway.log").read_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Run a gateway whose task has a student, with half of the traffic audited."""
    folder = tmp_path_factory.mktemp("served")
    fresh = [{**row, "model": "teacher-large"} for row in tickets(300, seed=5)]
    for i in range(0, len(fresh), 10):  # unlike anything it learned: left to the teacher
        fresh[i]["input"] = f"Schraube Getriebe {i} quietscht über Halle"
    log = write_log(folder / "fresh.jsonl", fresh)
    run("learn", write_log(folder / "log.jsonl", tickets(1_500)), "--audit", 0.5, cwd=folder)
    with (
        gateway(folder, "--teacher", f"replay:{log}", "--no-turns") as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        yield folder, client, fresh, url


def test_student_and_teacher_answer_alike(served):
    _, client, fresh, _ = served
    sources, agreed = set(), 0
    for row in fresh[:120]:
        raw = ask(client, row["input"])
        sources.add(raw.headers["x-openwheel-source"])
        completion = raw.parse()
        assert completion.object == "chat.completion"
        assert completion.model == "teacher-large"
        assert completion.choices[0].finish_reason == "stop"
        agreed += completion.choices[0].message.content == row["output"]
        if raw.headers["x-openwheel-source"] == "student":
            assert raw.headers["x-openwheel-task"] == "messages"
            assert 0 <= float(raw.headers["x-openwheel-confidence"]) <= 1
    assert sources == {"student", "teacher"}
    assert agreed >= 114


def test_streams_of_student_and_teacher_spell_the_same_answer(served):
    _, client, fresh, _ = served
    sources = set()
    for row in fresh[120:200]:
        raw = ask(client, row["input"], stream=True, stream_options={"include_usage": True})
        sources.add(raw.headers["x-openwheel-source"])
        chunks = list(raw.parse())
        spelled = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert spelled
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert chunks[-1].usage is not None
    assert sources == {"student", "teacher"}


def test_models_and_health(served):
    _, client, _, url = served
    assert "teacher-large" in [model.id for model in client.models.list()]
    with urllib.request.urlopen(url.removesuffix("/v1") + "/healthz") as response:
        health = json.load(response)
    assert health["status"] == "ok"
    assert list(health["students"]) == ["messages"]


def test_what_the_teacher_cannot_answer_is_its_error(served):
    _, client, _, _ = served
    with pytest.raises(openai.NotFoundError):
        ask(client, "the my please since again about 12")


def test_every_exchange_is_kept_and_audits_agree_with_the_log(served):
    folder, _, _, _ = served

    def kept():
        found = json.loads(run("tasks", "--json", cwd=folder).stdout)
        return found["unassigned"] + sum(task["n"] for task in found["tasks"]) - 1_500

    # 200 asked above, beside the log; about half of the students' answers were audited as well.
    deadline = time.monotonic() + 30
    while kept() <= 200:
        assert time.monotonic() < deadline, kept()
        time.sleep(0.1)
    assert kept() < 320


@pytest.mark.evidence
def test_a_turn_learns_from_what_the_gateway_kept(tmp_path):
    (tmp_path / "openwheel.toml").write_text(EAGER)
    rows = [{**row, "model": "teacher-large"} for row in tickets(500)]
    log = write_log(tmp_path / "log.jsonl", rows)
    with gateway(tmp_path, "--teacher", f"replay:{log}", "--no-turns") as url:
        assert set(sources(url, rows)) == {"teacher"}
        done = run_process("turn", "--json", cwd=tmp_path)
        events = json.loads(done.stdout)["events"]
        assert [event["kind"] for event in events] == ["promoted"], events
        until_a_student_answers(tmp_path, url, rows[0], seconds=30)


def test_turns_come_by_themselves(tmp_path):
    (tmp_path / "openwheel.toml").write_text(EAGER)
    rows = [{**row, "model": "teacher-large"} for row in tickets(500)]
    log = write_log(tmp_path / "log.jsonl", rows)
    with gateway(tmp_path, "--teacher", f"replay:{log}") as url:
        assert len(list(sources(url, rows))) == len(rows)
        until_a_student_answers(tmp_path, url, rows[0], seconds=60)


@pytest.mark.evidence
def test_a_dead_teacher_is_said_and_students_go_on(learned):
    with (
        gateway(learned, "--teacher", "http://127.0.0.1:9/v1", "--no-turns") as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        answered = ask(client, "invoice payment refund tax amount 4711")
        assert answered.headers["x-openwheel-source"] == "student"
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "the my please since again about 12")
        assert caught.value.status_code == 502
        assert "127.0.0.1:9" in str(caught.value)
