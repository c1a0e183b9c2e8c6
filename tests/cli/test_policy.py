"""The policy and lineages as an operator meets them: real files, a real teacher."""

import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys

import pytest

from cli.runner import run, run_process
from made_up import tickets, write_log
from teacher import Teacher, replies

HUNYUAN = "tencent/Hunyuan-7B-Instruct"


@pytest.fixture
def openwheel(tmp_path):
    def said(*arguments, code=0, policy="", run=run):
        (tmp_path / "openwheel.toml").write_text(policy)
        done = run(*arguments, cwd=tmp_path, code=code)
        return done.stdout + done.stderr

    return said


REPLY = b'{"model":"m","choices":[{"index":0,"message":{"content":"y"}}]}'


@pytest.fixture
def teacher():
    answer = replies(lambda asked: REPLY if asked.method == "POST" else (404, b"{}"))
    with Teacher(answer) as teacher:
        yield teacher


def toml(teacher, more=""):
    return f'[[teachers]]\nname = "t"\nurl = "http://127.0.0.1:{teacher.port}/v1"\n{more}'


def test_what_learned_from_whom_is_told(openwheel, tmp_path):
    rows = [{**row, "model": "qwen3:8b"} for row in tickets(1_200)]
    rows[::4] = [{**row, "model": HUNYUAN} for row in rows[::4]]
    said = openwheel("learn", write_log(tmp_path / "log.jsonl", rows), "--rungs", "linear")
    assert "left out" in said
    assert "5(b)" in said
    (student,) = json.loads(openwheel("students", "--json"))["students"]
    lineage = json.loads(openwheel("lineage", student["student"], "--json"))
    assert [taught["model"] for taught in lineage["taught_by"]] == ["qwen3:8b"]
    assert lineage["left_out"][0]["exchanges"] == 300
    card = openwheel("lineage", student["student"][:10], "--card")
    assert card.startswith("---\n")
    assert "Qwen/Qwen3-8B" in card
    assert "Apache-2.0" in openwheel("lineage", student["student"])
    assert openwheel("lineage", "no-such", code=2).startswith("openwheel: There is no student")
    (certificate,) = json.loads(openwheel("certificates", "--json"))["certificates"]
    openwheel("verify", certificate["id"][:12])
    database = sqlite3.connect(tmp_path / "openwheel.db")
    (kept,) = database.execute("SELECT candidate FROM students").fetchone()
    altered = kept.replace(b'"model":"qwen3:8b"', b'"model":"other"')
    database.execute("UPDATE students SET candidate = ?", (altered,))
    database.commit()
    assert "lineage" in openwheel("verify", certificate["id"][:12], code=1)
    database.execute("UPDATE students SET candidate = ?", (kept,))
    database.commit()
    database.close()

    strict = '[policy]\nforbidden_licences = ["Apache-2.0"]'
    assert "forbidden_licences" in openwheel("promote", "messages", code=2, policy=strict)
    openwheel("promote", "messages")


def test_policy_tells_what_may_be_done_with_a_model(openwheel):
    said = openwheel("policy", HUNYUAN, "Qwen/Qwen3-0.6B")
    assert f"model {HUNYUAN} may not be learned from" in said
    assert "model Qwen/Qwen3-0.6B may be learned from" in said
    found = json.loads(openwheel("policy", HUNYUAN, "--json"))["decisions"]
    assert [decision["allowed"] for decision in found] == [False, True]
    assert "no teachers" in openwheel("policy")


@pytest.mark.parametrize(
    "more",
    [
        'jurisdiction = "US"\n[policy]\njurisdictions = ["EU"]',
        f'models = ["{HUNYUAN}"]\n[policy]\nregions = ["DE"]',
        f'checkpoint = "{HUNYUAN}"\n[policy]\nregions = ["DE"]',
    ],
)
def test_a_teacher_that_may_not_be_asked_is_refused_at_start_up(openwheel, teacher, more):
    policy = toml(teacher, more)
    refused = openwheel("up", "--port", "0", code=2, policy=policy, run=run_process)
    assert "teacher t" in refused
    assert "failed   policy" in openwheel("check", code=1, policy=policy)
    if "models" not in more:  # one that has other models too may be asked which
        assert teacher.received == []
    assert "may not be sent" in openwheel("policy", policy=policy)


def test_what_is_wrong_with_a_policy_is_named(openwheel):
    wrong = {
        '[policy]\nregions = ["Germany"]': "policy.regions must hold country codes",
        '[policy.overrides]\n"Apache-3" = "x"': "policy.overrides must name licences",
        '[policy.overrides]\n"MIT" = ""': "policy.overrides must be",
    }
    for text, said in wrong.items():
        assert said in openwheel("check", code=1, policy=text)


def test_a_request_for_a_model_that_may_not_be_asked_goes_nowhere(tmp_path, teacher):
    (tmp_path / "openwheel.toml").write_text(toml(teacher, '[policy]\nregions = ["FR"]'))
    process = subprocess.Popen(
        [sys.executable, "-m", "openwheel", "up", "--port", "0", "--no-turns"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        port = int(re.search(r"127.0.0.1:(\d+)", process.stdout.readline())[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

        def ask(model):
            body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())

        status, answer = ask("hunyuan-7b-instruct")
        assert status == 403
        assert answer["error"]["code"] == "policy_refused"
        assert "does not apply in FR" in answer["error"]["message"]
        assert teacher.received == []
        assert ask("qwen3:8b")[0] == 200
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        process.stdout.close()
    assert len(teacher.received) == 1
