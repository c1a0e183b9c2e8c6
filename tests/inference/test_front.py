"""llama.cpp with adapters by name: real processes, real HTTP, tiny random models."""

import contextlib
import functools
import http.client
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from inference.served import front_thread, gguf_of, random_adapter
from inference.tiny import CHATML
from openwheel.errors import ModelError

pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytest.importorskip("xllamacpp", reason="the extra `serve` is not installed")

PROMPT = "<|im_start|>user\nthe bank card<|im_end|>\n<|im_start|>assistant\n"
assert "<|im_start|>" in CHATML


@pytest.fixture(scope="module")
def file(model_folder):
    return gguf_of(model_folder)


@pytest.fixture(scope="module")
def adapters(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [random_adapter(model_folder, folder / str(seed), seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def front(file, adapters):
    with front_thread(file, adapters={"first": adapters[0]}) as (running, url):
        yield running, url


def post(url, body, *, kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def said(status, answer):
    error = json.loads(answer)["error"]
    return status, error["code"], error["message"]


def completion(url, model="tiny", prompt=PROMPT, **more):
    asked = {"model": model, "prompt": prompt, "n_predict": 8, "temperature": 0, **more}
    status, answer = post(f"{url}/completion", asked)
    assert status == 200, answer
    return json.loads(answer)


def test_adapters_come_and_go_by_name_while_it_runs(front, adapters):
    _, url = front
    base, first = completion(url), completion(url, "first")
    assert base["content"] != first["content"]
    status, answer = post(
        f"{url}/v1/load_lora_adapter", {"lora_name": "second", "lora_path": str(adapters[1])}
    )
    assert (status, answer) == (200, b"Success: LoRA adapter 'second' added successfully.")
    assert [one["id"] for one in get(f"{url}/v1/models")["data"]] == ["tiny", "first", "second"]
    second = completion(url, "second")
    assert second["content"] not in {base["content"], first["content"]}
    # The others are as they were, in whatever slot.
    for _ in range(3):
        assert completion(url, "first")["content"] == first["content"]
        assert completion(url)["content"] == base["content"]
    status, _ = post(f"{url}/v1/unload_lora_adapter", {"lora_name": "second"})
    assert status == 200
    assert get(f"{url}/health")["models"] == ["tiny", "first"]
    status, code, message = said(*post(f"{url}/completion", {"model": "second", "prompt": "x"}))
    assert (status, code) == (404, "model_not_found")
    assert "'second' is not served here" in message


def test_an_adapter_that_cannot_be_loaded_is_told_and_harms_no_other(front, tmp_path, file):
    _, url = front
    load = f"{url}/v1/load_lora_adapter"
    before = completion(url, "first")["content"]
    (tmp_path / "adapter.gguf").write_bytes(b"GGUF, but no more of it")
    bad = {"lora_name": "bad", "lora_path": str(tmp_path)}
    status, _, message = said(*post(load, bad))
    assert status == 400
    assert "llama.cpp cannot run" in message
    assert said(*post(load, {**bad, "lora_path": str(tmp_path / "none")}))[0] == 400
    assert "is taken" in said(*post(load, {**bad, "lora_name": "first"}))[2]
    assert said(*post(load, b"{}"))[0] == 400
    assert said(*post(load, bad, kind="text/plain"))[0] == 415
    assert completion(url, "first")["content"] == before


def test_several_clients_load_one_adapter_at_once(front, adapters):
    _, url = front
    asked = {"lora_name": "shared", "lora_path": str(adapters[1])}
    with ThreadPoolExecutor(4) as clients:
        load = functools.partial(post, f"{url}/v1/load_lora_adapter", asked)
        answers = [one.result() for one in [clients.submit(load) for _ in range(4)]]
    assert [status for status, _ in answers] == [200] * 4
    assert get(f"{url}/health")["models"].count("shared") == 1
    assert post(f"{url}/v1/unload_lora_adapter", {"lora_name": "shared"})[0] == 200


def test_the_official_client_streams_and_calls_by_adapter(front):
    _, url = front
    asked = {
        "messages": [{"role": "user", "content": "the bank card"}],
        "temperature": 0,
        "max_tokens": 8,
    }
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        texts = set()
        for model in ("tiny", "first"):
            whole = client.chat.completions.create(model=model, **asked)
            chunks = client.chat.completions.create(model=model, **asked, stream=True)
            spelled = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert spelled == whole.choices[0].message.content
            texts.add(spelled)
        assert len(texts) == 2
        long = [{"role": "user", "content": "the bank card " * 400}]
        with pytest.raises(openai.BadRequestError, match="exceeds the available context") as info:
            client.chat.completions.create(model="tiny", messages=long)
        assert info.value.code == "context_length_exceeded"
        with pytest.raises(openai.NotFoundError, match="is not served here"):
            client.chat.completions.create(model="none", **asked)
    # There llama.cpp would answer as the base, without a word.
    body = {"model": "first", "max_tokens": 4, "messages": asked["messages"]}
    assert post(f"{url}/v1/messages", body)[0] == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": ' * 2000, b"\xff"])
def test_a_body_that_is_none_is_refused(front, body):
    assert said(*post(f"{front[1]}/v1/chat/completions", body))[0] == 400


def test_killed_under_load_it_is_started_again_and_every_answer_is_right(front):
    running, url = front
    prompts = [PROMPT.replace("card", f"card {at}") for at in range(24)]
    wanted = {prompt: completion(url, "first", prompt)["content"] for prompt in prompts}
    found, lock = [], threading.Lock()
    killed = {running.health()["process"]}

    def ask(part):
        for prompt in part:
            asked = {"model": "first", "prompt": prompt, "n_predict": 8, "temperature": 0}
            status, answer = post(f"{url}/completion", asked)
            with lock:
                found.append((prompt, status, json.loads(answer).get("content")))

    threads = [threading.Thread(target=ask, args=(prompts[at::4] * 3,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        while (pid := running.health()["process"]) is None or (pid in killed and len(killed) > 1):
            time.sleep(0.01)
        killed.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(found) == 3 * len(prompts)
    # One that was killed twice may be told so; none gets another's answer, or half of one.
    assert {status for _, status, _ in found} <= {200, 503}
    right = [text == wanted[prompt] for prompt, status, text in found if status == 200]
    assert all(right)
    assert len(right) > len(prompts)
    assert completion(url, "first", prompts[0])["content"] == wanted[prompts[0]]


def test_a_stream_that_breaks_off_is_no_whole_answer(front):
    running, url = front
    asked = {"model": "first", "prompt": PROMPT, "n_predict": 400, "stream": True}
    asked["ignore_eos"] = True
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(asked).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.readline().startswith(b"data: ")
        os.kill(running.health()["process"], signal.SIGKILL)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
    assert completion(url, "first")["content"]


def test_who_goes_away_is_waited_for_no_longer(front):
    running, url = front
    asked = {"model": "first", "prompt": PROMPT, "n_predict": 490, "ignore_eos": True}
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(asked).encode(), {"content-type": "application/json"}
    )
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(request, timeout=0.02)
    deadline = time.monotonic() + 30
    while running.health()["busy"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.health()["busy"] == 0


def test_too_many_that_wait_are_refused(file):
    with front_thread(file, slots=1, max_queue=1) as (running, url):
        asked = {"prompt": PROMPT, "n_predict": 490, "ignore_eos": True}
        statuses = []

        def ask():
            statuses.append(post(f"{url}/completion", asked)[0])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses.count(429) >= 1
        assert statuses.count(200) >= 2
        assert running.models() == ["tiny"]


def test_what_cannot_be_run_is_told_when_it_starts(tmp_path):
    file = tmp_path / "no.gguf"
    file.write_bytes(b"no model")
    problem = pytest.raises(ModelError, match=r"cannot run .*no\.gguf: .*invalid magic")
    with problem, front_thread(file):
        pytest.fail("it runs")
