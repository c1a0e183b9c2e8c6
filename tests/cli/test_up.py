"""``openwheel up`` with the official client, unchanged: answered by teacher and by student."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import openai
import pytest

from made_up import tickets, write_log


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


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Run a gateway whose task has a student, with half of the traffic audited."""
    folder = tmp_path_factory.mktemp("served")
    fresh = [{**row, "model": "teacher-large"} for row in tickets(300, seed=5)]
    for i in range(0, len(fresh), 10):  # unlike anything it learned: left to the teacher
        fresh[i]["input"] = f"Schraube Getriebe {i} quietscht über Halle"
    log = write_log(folder / "fresh.jsonl", fresh)
    learn = [sys.executable, "-m", "openwheel", "learn"]
    learn += [str(write_log(folder / "log.jsonl", tickets(1_500))), "--audit", "0.5"]
    subprocess.run(learn, cwd=folder, check=True)
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
    time.sleep(1)
    listed = subprocess.run(
        [sys.executable, "-m", "openwheel", "tasks", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(listed.stdout)
    kept = found["unassigned"] + sum(task["n"] for task in found["tasks"])
    # 200 asked above, beside the log; about half of the students' answers were audited as well.
    assert 200 < kept - 1_500 < 320


def test_a_turn_learns_from_what_the_gateway_kept(tmp_path):
    rows = [{**row, "model": "teacher-large"} for row in tickets(900)]
    log = write_log(tmp_path / "log.jsonl", rows)
    with (
        gateway(tmp_path, "--teacher", f"replay:{log}", "--no-turns") as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        for row in rows:
            assert ask(client, row["input"]).headers["x-openwheel-source"] == "teacher"
        done = subprocess.run(
            [sys.executable, "-m", "openwheel", "turn", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        events = json.loads(done.stdout)["events"]
        assert [event["kind"] for event in events] == ["promoted"], events
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            source = ask(client, rows[0]["input"]).headers["x-openwheel-source"]
            if source == "student":
                break
        assert source == "student"


def test_turns_come_by_themselves(tmp_path):
    rows = [{**row, "model": "teacher-large"} for row in tickets(900)]
    log = write_log(tmp_path / "log.jsonl", rows)
    with (
        gateway(tmp_path, "--teacher", f"replay:{log}") as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        for row in rows:
            ask(client, row["input"])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            source = ask(client, rows[0]["input"]).headers["x-openwheel-source"]
            if source == "student":
                break
            time.sleep(0.2)
        assert source == "student", (tmp_path / "gateway.log").read_text()


def test_a_dead_teacher_is_said_and_students_go_on(tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "openwheel", "learn"),
            str(write_log(tmp_path / "log.jsonl", tickets(1_500))),
        ],
        cwd=tmp_path,
        check=True,
    )
    with (
        gateway(tmp_path, "--teacher", "http://127.0.0.1:9/v1", "--no-turns") as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        answered = ask(client, "invoice payment refund tax amount 4711")
        assert answered.headers["x-openwheel-source"] == "student"
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "the my please since again about 12")
        assert caught.value.status_code == 502
        assert "127.0.0.1:9" in str(caught.value)
