"""Several workers as one gateway: when one is killed, in what they count, in what they serve."""

import contextlib
import http.client
import os
import re
import signal
import threading

import pytest

from cli.runner import run

EASY = "invoice payment refund tax amount 4711"


def total(page, name):
    return sum(float(v) for v in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE))


MANY = pytest.param(4, 200, marks=pytest.mark.evidence)


@pytest.mark.parametrize(("workers", "requests"), [(2, 50), MANY])
@pytest.mark.parametrize("mode", ["strict", "fast"])
def test_a_worker_that_is_killed_takes_only_its_own_requests_along(
    up, teacher, load, wait_for, mode, workers, requests
):
    gateway = up(
        "--teacher", teacher().url, "--workers", str(workers), "--capture", mode, "--no-turns",
        "--log-level", "error",
    )  # fmt: skip
    with load(gateway, clients=8) as clients:
        clients.more(requests)
        victim = max(gateway.children(), key=lambda pid: len(gateway.ports_of(pid)))
        # The worker stands still while its connections are listed, so that none is new.
        os.kill(victim, signal.SIGSTOP)
        ports = gateway.ports_of(victim)
        assert ports
        os.kill(victim, signal.SIGKILL)
        clients.more(requests)
        wait_for(lambda: len(gateway.children()) == workers)
        assert victim not in gateway.children()
        clients.more(requests)
    assert gateway.stop() == 0

    assert {port for port, _ in clients.failed.values()} <= ports
    assert len(clients.failed) <= len(ports)
    assert "Gateway worker" in gateway.log
    assert "code -9" in gateway.log
    stored = gateway.stored()
    assert set(stored.values()) == {1}
    lost = {text for text in clients.answered if text not in stored}
    if mode == "strict":
        assert not lost
    else:
        assert {clients.answered[text][0] for text in lost} <= ports
        assert len(lost) < 200


@pytest.mark.parametrize(("workers", "requests"), [(2, 50), MANY])
def test_metrics_are_of_all_workers_and_do_not_go_back(
    up, teacher, load, wait_for, workers, requests
):
    gateway = up("--teacher", teacher().url, "--workers", str(workers), "--no-turns")
    seen, over = [], threading.Event()

    def look():
        while not over.wait(0.02):
            with contextlib.suppress(OSError, http.client.HTTPException):  # the killed one's
                seen.append(total(gateway.get("/metrics"), "openwheel_requests_total"))

    looking = threading.Thread(target=look)
    with load(gateway) as clients:
        looking.start()
        clients.more(requests)
        wait_for(lambda: seen and seen[-1] > 0)  # workers share their counts every second
        before = seen[-1]
        victim = max(gateway.children(), key=lambda pid: len(gateway.ports_of(pid)))
        os.kill(victim, signal.SIGKILL)
        clients.more(requests)
        wait_for(lambda: len(gateway.children()) == workers)
        wait_for(lambda: seen[-1] > before)
    over.set()
    looking.join()
    assert seen == sorted(seen)

    def page():
        return gateway.get("/metrics")

    wait_for(lambda: total(page(), "openwheel_workers") == workers)
    before = total(page(), "openwheel_requests_total")
    assert before > requests
    for n in range(12):  # whoever answers them
        gateway.ask(f"one more {n}")
    wait_for(lambda: total(page(), "openwheel_requests_total") == before + 12)


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.evidence)])
def test_promotions_and_demotions_reach_every_worker(up, teacher, wait_for, learned, workers):
    gateway = up("--teacher", teacher().url, "--workers", str(workers), "--no-turns")
    with contextlib.ExitStack() as stack:
        clients = gateway.one_client_each(stack)
        assert len(clients) == workers

        def sources():
            return {client.ask(EASY).headers["x-openwheel-source"] for client in clients}

        assert sources() == {"student"}
        run("demote", "messages", cwd=learned)
        wait_for(lambda: sources() == {"teacher"})
        run("promote", "messages", cwd=learned)
        wait_for(lambda: sources() == {"student"})
