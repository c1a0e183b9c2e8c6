"""Gateways behind the balancer of compose.yaml: one may go and come, and no request fails."""

import contextlib
import re
import shutil
import signal
import subprocess
import time
from http.client import HTTPConnection

import pytest

from deploy.containerfile import ROOT
from openwheel.sockets import listen
from processes.conftest import Load, poll

SETTINGS = ROOT / "deploy" / "compose" / "haproxy.cfg"
NAMED = re.compile(r"^    server-template gateway .*$", re.MULTILINE)


def free_port():
    with contextlib.closing(listen("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class Front:
    """The balancer, as `Load` takes a gateway."""

    def __init__(self, port):
        self.port = port


@pytest.fixture
def balancer(tmp_path):
    """Run HAProxy with the settings of compose.yaml, with ports in place of containers' names."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    with contextlib.ExitStack() as stack:

        def start(ports):
            front = free_port()
            text = SETTINGS.read_text(encoding="utf-8")
            servers = "\n".join(
                f"    server gateway{number} 127.0.0.1:{port} check inter 200ms fall 2 rise 1"
                for number, port in enumerate(ports)
            )
            text, named = NAMED.subn(servers, text)
            assert named == 1
            text = re.sub(r"maxconn \d+", "maxconn 200", text)  # within what this process may open
            text = text.replace("bind :8000", f"bind 127.0.0.1:{front}")
            text = re.sub(r"(?m)^    server console .*$", "", text)
            file = tmp_path / "haproxy.cfg"
            file.write_text(text)
            log = stack.enter_context((tmp_path / "haproxy.log").open("w"))
            process = stack.enter_context(
                subprocess.Popen(["haproxy", "-db", "-f", str(file)], stdout=log, stderr=log)
            )
            stack.callback(process.kill)

            def answers():
                assert process.poll() is None, (tmp_path / "haproxy.log").read_text()
                with (
                    contextlib.suppress(OSError),
                    contextlib.closing(HTTPConnection("127.0.0.1", front, timeout=5)) as connection,
                ):
                    connection.request("GET", "/healthz")
                    return connection.getresponse().status == 200
                return False

            poll(answers)
            return Front(front)

        yield start


def test_a_gateway_goes_and_comes_and_no_request_fails(up, teacher, balancer, tmp_path):
    upstream = teacher()
    (tmp_path / "openwheel.toml").write_text("[gateway]\ndrain = 1.0\n")
    options = ("--teacher", upstream.url, "--no-learner", "--no-console")
    gateways = [up(*options), up(*options)]
    front = balancer([gateway.port for gateway in gateways])
    with Load(front, clients=4) as clients:
        clients.more(40)
        for number, gateway in enumerate(gateways):
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(timeout=30) == 0
            clients.more(40)
            gateways[number] = up(*options, port=gateway.port)
            time.sleep(0.5)  # until the balancer has seen it
            clients.more(40)
    assert clients.failed == {}
    assert set(gateways[0].stored().values()) == {1}
    assert len(gateways[0].stored()) == len(clients.answered)
