import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from openwheel.errors import SettingError
from openwheel.gateway import create_app, gateway_thread, run_gateway
from openwheel.teachers import RecordedTeacher

PROGRAM = """
import sys, time
from openwheel.teachers import RecordedTeacher
from openwheel.gateway import CaptureWriter, create_app, run_gateway
from openwheel.loop.serving import Decision
from openwheel.store.exchange import Exchange
from openwheel.wire import Answer

REQUEST = b'{"messages":[{"role":"user","content":"x"}]}'

class NoStudents:
    def refresh(self): return False
    def decide(self, prompt, task="", key=""): return Decision()

class SlowFile:
    def append(self, exchanges):
        time.sleep(0.3)
        with open(sys.argv[1], "a") as file:
            file.writelines(one.id + "\\n" for one in exchanges)
        return len(exchanges)
    def has_same(self, exchange, within): return False

teacher = RecordedTeacher(
    [Exchange(id="1", request=REQUEST, answer=Answer("y"), source="log", latency_ms=400)], pace=1.0
)
capture = CaptureWriter(SlowFile())
run_gateway(
    create_app(teacher, NoStudents(), capture),
    port=0,
    ready=lambda url: print(url, flush=True),
)
assert capture.close()
"""


def app(student):
    return create_app(RecordedTeacher([]), student())


def test_sigterm_finishes_requests_and_flushes_capture(tmp_path):
    log = tmp_path / "captured"
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        url = process.stdout.readline().decode().strip()
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            body = b'{"messages":[{"role":"user","content":"x"}]}'
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            client.sendall(head % len(body) + body)
            time.sleep(0.15)
            os.kill(process.pid, signal.SIGTERM)
            assert client.recv(10_000).startswith(b"HTTP/1.1 200")
        out, err = process.communicate(timeout=15)
    assert (out, err, process.returncode) == (b"", b"", 0)
    assert len(log.read_text().split()) == 1


def test_gateway_imports_nothing_that_trains():
    program = (
        "import sys, openwheel.gateway, openwheel.teachers;"
        "heavy = {'torch', 'sklearn', 'transformers', 'httpx', 'fastapi'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout == "[]\n"


def test_port_in_use_is_named(student):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=rf"Port {port} on 127\.0\.0\.1 is already in use"):
            run_gateway(app(student), port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_public_address_must_be_allowed(student, host):
    with pytest.raises(SettingError, match="loopback"):
        run_gateway(app(student), host=host, port=0)


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), ("127.0.0.1", 70_000)])
def test_bad_address(student, host, port):
    with pytest.raises(SettingError):
        run_gateway(app(student), host=host, port=port)


def test_two_gateways_in_one_process(student):
    with gateway_thread(app(student)) as one, gateway_thread(app(student)) as two:
        assert one != two
        for url in (one, two):
            with urllib.request.urlopen(f"{url}/healthz") as response:
                assert response.status == 200
