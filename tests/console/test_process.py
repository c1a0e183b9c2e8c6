"""The console behind a gateway, and on a store alone, as processes."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from console.conftest import Visitor

TOML = """
[gateway]
port = 0
[[teachers]]
url = "http://127.0.0.1:9/v1"
"""


@contextlib.contextmanager
def running(folder, *arguments):
    """Run a command until it has said where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "openwheel", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url, process.communicate()
        yield process, Visitor(url[0])
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.communicate()


def ready(visitor, path="/console"):
    """Return a page once the console's process has started."""
    deadline = time.monotonic() + 60
    while (page := visitor.get(path)).status == 503:
        assert time.monotonic() < deadline, page.text
        time.sleep(0.1)
    return page


@pytest.fixture
def up(path):
    """Run a gateway on the store, with nobody to teach."""
    (path.parent / "openwheel.toml").write_text(TOML)
    with running(path.parent, "up", "--no-turns") as gateway:
        yield gateway


def test_a_gateway_serves_the_console_from_another_process(up, registry):
    process, visitor = up
    assert ready(visitor).status == 200
    assert "1 worker answers." in visitor.get("/console").text
    assert visitor.act("/console/stop").status == 303
    assert registry.stopped()
    # Nobody reaches it but through the gateway, which says who asks.
    ask = {"x_openwheel_client": "127.0.0.1", "x_openwheel_console": "guess"}
    assert visitor.get("/console", x_forwarded_for="10.1.2.3").status == 403
    assert visitor.get("/console", host="evil.example").status == 403
    assert visitor.get("/console", **ask).status == 200
    (port,) = inner_ports(process, visitor)
    assert Visitor(f"http://127.0.0.1:{port}").get("/console", **ask).status == 403
    assert visitor.ask("PUT", "/console").status == 405
    assert visitor.ask("HEAD", "/console/static/console.css").status == 200


def inner_ports(process, visitor):
    """Return the ports that the gateway listens on besides its own."""
    listening = {
        connection.laddr.port
        for connection in psutil.Process(process.pid).net_connections("tcp4")
        if connection.status == psutil.CONN_LISTEN
    }
    return listening - {int(visitor.host.split(":")[1])}


def test_an_open_page_does_not_hold_up_the_gateways_end(up):
    process, visitor = up
    ready(visitor)
    host, port = visitor.host.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as page:
        head = f"GET /console/events HTTP/1.1\r\nhost: {visitor.host}\r\n\r\n"
        page.sendall(head.encode())
        assert b"event: board" in page.recv(1 << 16) + page.recv(1 << 16)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(25) == 0
        assert time.monotonic() - asked < 20


def test_a_console_that_dies_is_started_again_and_sessions_stay(up):
    process, visitor = up
    ready(visitor)
    session = visitor.cookie

    def consoles():
        return [
            child
            for child in psutil.Process(process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE
            and "openwheel.processes.console" in child.cmdline()
        ]

    (first,) = consoles()
    first.kill()
    deadline = time.monotonic() + 60
    while not (now := consoles()) or now[0].pid == first.pid:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ready(visitor)
    assert visitor.act("/console/stop").status == 303
    assert visitor.cookie == session


def test_a_store_alone(path):
    with running(path.parent, "console", "--db", path.name, "--port", "0") as (_, visitor):
        assert "knows of no gateway" in visitor.get("/console").text
        assert visitor.get("/console/exchanges").status == 200


def test_a_console_that_is_not_wanted(path):
    (path.parent / "openwheel.toml").write_text(f"{TOML}[console]\nenabled = false\n")
    with running(path.parent, "up", "--no-turns") as (_, visitor):
        assert visitor.get("/console").status == 404
