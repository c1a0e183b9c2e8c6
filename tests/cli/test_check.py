import json
import socket

import pytest

from cli.runner import run as openwheel
from openwheel.gateway import create_app, gateway_thread
from openwheel.loop.leases import FINDING, of_task
from openwheel.loop.registry import Registry
from openwheel.loop.serving import Decision
from openwheel.loop.turn import failures
from openwheel.store import Exchange, Store, leases
from openwheel.tasks import Task
from openwheel.teachers import RecordedTeacher
from openwheel.wire import Answer


class NoStudents:
    def refresh(self):
        return False

    def decide(self, request, task="", key=""):
        return Decision()


@pytest.fixture
def teacher_url():
    request = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    recorded = Exchange(id="1", request=request, answer=Answer("y"), source="log", model="qwen3-8b")
    with gateway_thread(create_app(RecordedTeacher([recorded]), NoStudents())) as url:
        yield f"{url}/v1"


@pytest.fixture
def check(tmp_path):
    def run(text, code):
        (tmp_path / "openwheel.toml").write_text(text)
        done = openwheel("check", "--json", cwd=tmp_path, code=code)
        found = json.loads(done.stdout)["findings"]
        return {one["what"]: (one["state"], one["said"]) for one in found}

    return run


def test_what_works_is_ok(check, teacher_url):
    found = check(
        f'[gateway]\nport = 0\n[[teachers]]\nname = "t"\nurl = "{teacher_url}"\nmodels = ["qwen*"]',
        0,
    )
    assert {state for state, _ in found.values()} == {"ok"}
    assert "qwen3-8b" in found["teacher t"][1]


def test_what_does_not_work_is_named(check, teacher_url):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = check(
            f"""
            [gateway]
            port = {port}
            [store]
            path = "no/such/folder/x.db"
            [[teachers]]
            name = "dead"
            url = "http://127.0.0.1:9/v1"
            [[teachers]]
            name = "elsewhere"
            url = "{teacher_url}"
            models = ["llama*"]
            [[teachers]]
            name = "keyless"
            url = "{teacher_url}"
            key_env = "NO_SUCH_KEY"
            """,
            1,
        )
    assert found["address"][0] == "failed"
    assert str(port) in found["address"][1]
    assert found["store no/such/folder/x.db"][0] == "failed"
    assert found["teacher dead"] == (
        "failed",
        "The teacher at 127.0.0.1:9 could not be reached: Connection refused",
    )
    assert found["teacher elsewhere"] == ("warning", "does not list llama*")
    assert "NO_SUCH_KEY" in found["teacher keyless"][1]


def test_a_public_address_without_keys_fails(check, teacher_url):
    text = f'[gateway]\nhost = "0.0.0.0"\nport = 0\n[[teachers]]\nurl = "{teacher_url}"\n'
    assert check(text, 1)["keys"][0] == "failed"
    assert check(text + "[access]\nrequire_keys = false", 0)["keys"][0] == "warning"


def test_a_bad_file_is_the_only_finding(check):
    found = check("[gateway]\nprot = 1", 1)
    assert list(found) == ["settings"]
    assert "did you mean 'port'" in found["settings"][1]


def test_a_model_on_this_machine_is_looked_for_and_not_loaded(check, tmp_path):
    (tmp_path / "model").mkdir()
    teacher = '[gateway]\nport = 0\n[[teachers]]\nname = "here"\nurl = "local:./model"\n'
    state, said = check(teacher, 1)["teacher here"]
    assert (state, "has no config.json" in said) == ("failed", True)
    (tmp_path / "model" / "config.json").write_text('{"model_type": "qwen3"}')
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    state, said = check(teacher, 0)["teacher here"]
    assert (state, "of type qwen3" in said) == ("ok", True)
    state, said = check(teacher.replace("./model", "an/id"), 0)["teacher here"]
    assert (state, "was not fetched" in said) == ("warning", True)


def test_turns_that_failed_are_warned_of(check, teacher_url, tmp_path):
    with Store.open(tmp_path / "openwheel.db") as store:
        Registry(store).add_tasks([Task(id="t1", name="route", template=None)])
        for name in (FINDING, of_task("t1"), of_task("t1")):
            with store.write() as transaction:  # a learner that died there
                leases.acquire(transaction, name, "dead", seconds=None)
            failures.notice(store, alone=True)
    found = check(f'[[teachers]]\nurl = "{teacher_url}"\n', 0)
    assert found["turns"][0] == "warning"
    state, said = found["turns of route"]
    assert state == "warning"
    assert said.startswith("2 turns in a row failed here: its process was killed or crashed")


def test_settings_of_a_task_that_does_not_exist_are_warned_of(check, teacher_url, tmp_path):
    with Store.open(tmp_path / "openwheel.db") as store:
        Registry(store).add_tasks([Task(id="t1", name="route-tickets", template=None)])
    tasks = "[tasks.route-tickets]\nepsilon = 0.02\n[tasks.'route tickets']\nepsilon = 0.02\n"
    found = check(f'[[teachers]]\nurl = "{teacher_url}"\n{tasks}', 0)
    state, said = found["tasks"]
    assert state == "warning"
    assert said.startswith("tasks.route tickets: no task has this name")
    assert said.endswith("the tasks are: route-tickets")
