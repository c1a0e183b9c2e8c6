"""An edge and its upstream as processes: outages, demotions, bundles, silence."""

import asyncio
import contextlib
import http.client
import itertools
import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from cli.runner import run, run_process
from edge.conftest import TASK, request_of
from edge.link import LinkProxy
from edge.running import Running, until
from made_up import tickets
from openwheel.store import Store
from processes.live_tasks import TASKS, answers
from teacher import Teacher

POLL = 0.2
ELSE = "Say how urgent this message is, in a single word and nothing else."


class Desk:
    """An upstream gateway, a link to it, and an edge."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.teacher = stack.enter_context(Teacher(answers()))
        self.secret = run("keys", "create", "line-7", "--edge", cwd=folder).stdout.strip()
        (folder / "openwheel.toml").write_text('[edge]\nbundle = "desk.owb"\n')
        up = ("up", "--teacher", self.teacher.url, "--no-turns")
        self.upstream = stack.enter_context(Running(folder, *up, name="up"))
        self.link = stack.enter_context(LinkProxy(self.upstream.port))
        self.words = (row for seed in itertools.count(7) for row in tickets(1_000, seed=seed))

    def edge(self, *more: object, timeout: float = 10.0) -> Running:
        """Start an edge, whose link counts as down after so many seconds without an answer."""
        home = self.folder / "edge"
        home.mkdir(exist_ok=True)
        arguments = (
            *("edge", "../desk.owb", "--upstream", self.link.url),
            *("--public-key", "../signing.pem.pub", "--poll", str(POLL)),
            *("--link-timeout", str(timeout), *more),
        )
        edge = Running(home, *arguments, name="edge", key=self.secret)
        return self.stack.enter_context(edge)

    def ask(self, edge: Running, times: int) -> Counter[tuple[int, str]]:
        """Ask the desk's task so often; return how often who answered."""
        found: Counter[tuple[int, str]] = Counter()
        for _ in range(times):
            answered = edge.ask(next(self.words)["input"])
            found[answered.status, answered.source] += 1
        return found

    def stored(self) -> list:
        with Store.open(self.folder / "openwheel.db") as store:
            return [exchange for _, exchange in store.exchanges() if exchange.source != "log"]

    def settle(self, edge: Running) -> dict:
        """Wait until the edge has sent all that it had."""

        def done() -> object:
            health = edge.health()
            return health if not health["exchanges"] + health["waiting"] else None

        return until(done)


@pytest.fixture
def world(desk: Path):
    with contextlib.ExitStack() as stack:
        yield Desk(desk, stack)


def answering(edge: Running) -> bool:
    return bool(edge.health()["students"])


def test_a_line_goes_on_through_an_outage(world):
    edge = world.edge()
    found = world.ask(edge, 40)
    assert set(found) <= {(200, "student"), (200, "teacher")}
    assert found[200, "student"] > 30
    assert edge.ask("whenever", system=ELSE).text == "low"
    world.link.cut()
    found = world.ask(edge, 60)
    assert found[200, "student"] > 50
    refused = edge.ask("quite unlike all that was ever asked before")
    assert (refused.status, refused.body["error"]["code"]) == (503, "link_down")
    assert int(refused.headers["retry-after"]) >= 1
    assert edge.ask("asap", system=ELSE).status == 503
    queued = [
        edge.ask("deadline now", system=ELSE, prefer="respond-async").body["id"],
        edge.ask("nothing of the kind 17", prefer="respond-async").body["id"],
    ]
    during = edge.health()
    assert (during["link"], during["status"]) == ("down", "degraded")
    assert during["exchanges"] > 50
    assert during["waiting"] > 2
    world.link.mend()
    world.settle(edge)
    assert edge.health()["status"] == "ok"
    stored = world.stored()
    ids = Counter(exchange.id for exchange in stored)
    assert set(ids.values()) == {1}
    assert {exchange.key for exchange in stored} == {"line-7"}
    assert set(queued) <= set(ids)
    by_students = [one for one in stored if one.source == "student"]
    assert len(by_students) > 80
    # Each pick has its probability, and a teacher's answer beside the student's.
    picked = [one for one in stored if one.unbiased and one.student_answer is not None]
    assert len(picked) > 5
    assert all(0 < one.audit_probability < 1 for one in picked)
    assert {one.teacher for one in stored if one.source == "teacher"} == {
        f"127.0.0.1:{world.teacher.port}"
    }
    assert all(one.answer.text in {"billing", "delivery", "account", "product"} for one in picked)
    page = edge.ask_raw("GET", "/healthz", b"").body["edge"]
    assert page["deleted_student"] == page["deleted_audits"] == page["lost_audits"] == 0


def test_a_pulled_cable_is_noticed_though_nothing_is_said(world):
    edge = world.edge(timeout=3.0)
    world.ask(edge, 1)
    world.link.hang()
    started = time.monotonic()
    refused = edge.ask("quite unlike all that was ever asked before")
    assert refused.status == 503
    assert time.monotonic() - started < 20
    assert edge.health()["link"] == "down"
    world.link.mend()
    until(lambda: edge.health()["link"] == "up")


def test_an_answer_that_has_begun_breaks_off_when_the_cable_is_pulled(world):
    begun = Teacher.stream_head + Teacher.chunked(b"data: {}\n\n")

    async def slow(_, writer) -> None:
        writer.write(begun)
        await asyncio.Event().wait()

    world.teacher.answer = slow
    edge = world.edge(timeout=3.0)
    body = json.dumps({**request_of("now", ELSE), "stream": True})
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", body)
        response = connection.getresponse()
        assert response.read1(100) == b"data: {}\n\n"
        world.link.hang()
        with pytest.raises(http.client.IncompleteRead):
            response.read()
    assert edge.health()["link"] == "down"


def test_a_refused_request_that_comes_again_has_its_coin_no_second_time(world):
    """Otherwise what a student defers would count once for each try of its client."""
    edge = world.edge()
    world.ask(edge, 1)
    world.link.cut()
    texts = [f"quite unlike what was ever asked {n} {random.random()}" for n in range(40)]
    for _ in range(3):
        for text in texts:
            assert edge.ask(text).status == 503
    world.link.mend()
    until(lambda: edge.health()["link"] == "up")
    for text in texts:
        assert edge.ask(text).source == "teacher"
    world.settle(edge)
    evidence, others = Counter(), Counter()
    for one in world.stored():
        text = json.loads(one.request)["messages"][-1]["content"]
        if text in texts:
            (evidence if one.unbiased else others)[text] += 1
    assert set(evidence.values()) <= {1}
    assert others == dict.fromkeys(texts, 1)
    # One coin each, of 0.2 or so: all or none of 40 would be another coin.
    assert 0 < len(evidence) < 40


def test_a_demotion_is_obeyed_and_not_forgotten_by_a_restart(world):
    edge = world.edge()
    assert world.ask(edge, 20)[200, "student"]
    run("demote", TASK, cwd=world.folder)
    until(lambda: not answering(edge))
    world.link.cut()
    edge.kill()
    edge.start()
    assert not answering(edge)
    assert set(world.ask(edge, 20)) == {(503, "")}
    world.link.mend()
    run("promote", TASK, cwd=world.folder)
    until(lambda: answering(edge))
    assert world.ask(edge, 20)[200, "student"]


def test_audits_of_an_edge_take_its_student_off(world):
    """The teacher thinks otherwise now; only the edge has traffic, and part of it in an outage."""
    edge = world.edge()
    assert world.ask(edge, 10)[200, "student"]
    system = next(iter(TASKS))
    world.teacher.answer = answers(system)
    world.link.cut()
    assert world.ask(edge, 40)[200, "student"]
    world.link.mend()

    def off() -> bool:
        world.ask(edge, 5)
        return not answering(edge)

    until(off)
    until(lambda: ": demoted. audit:" in world.upstream.log)
    assert "its student was taken off, as upstream" in edge.log


def test_a_stop_upstream_stops_edges(world):
    edge = world.edge()
    assert world.ask(edge, 20)[200, "student"]
    run("stop", cwd=world.folder)
    until(lambda: not answering(edge))
    assert set(world.ask(edge, 10)) == {(200, "teacher")}
    run("resume", cwd=world.folder)
    until(lambda: answering(edge))


def test_a_newer_bundle_is_pulled_and_one_that_is_none_is_not(world):
    edge = world.edge()
    first = edge.health()["students"]
    home = world.folder / "edge" / "edge.db.bundles"
    (before,) = [path.name for path in home.iterdir()]
    (world.folder / "desk.owb").write_bytes(b"no bundle")
    until(lambda: "The newer bundle is not used" in edge.log)
    assert [path.name for path in home.iterdir()] == [before]
    assert world.ask(edge, 10)[200, "student"]
    run("bundle", "--out", "desk.owb", "--key", "signing.pem", cwd=world.folder)
    until(lambda: [path.name for path in home.iterdir()] not in ([before], []))
    until(lambda: "A newer bundle is in use" in edge.log)
    assert edge.health()["students"] == first
    assert world.ask(edge, 10)[200, "student"]
    (after,) = [path.name for path in home.iterdir()]
    # It is kept across a restart with the older one on the command line.
    world.link.cut()
    edge.kill()
    edge.start()
    assert [path.name for path in home.iterdir()] == [after]
    assert world.ask(edge, 10)[200, "student"]


def test_students_stop_when_the_upstream_was_unheard_for_too_long(world):
    edge = world.edge("--unheard", "4")
    until(lambda: answering(edge))  # the bundle itself is older
    world.link.cut()
    until(lambda: not answering(edge))
    assert edge.health()["unheard"]
    assert set(world.ask(edge, 5)) == {(503, "")}
    edge.kill()
    edge.start()
    assert not answering(edge)
    world.link.mend()
    until(lambda: answering(edge))
    assert world.ask(edge, 20)[200, "student"]


def test_what_is_missing_is_said_before_it_starts(desk, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENWHEEL_EDGE_KEY", raising=False)
    common = ("--public-key", "signing.pem.pub", "--spool", tmp_path / "edge.db")
    upstream = ("--upstream", "http://127.0.0.1:9/v1")
    told = run_process("edge", "desk.owb", *common, *upstream, cwd=desk, code=2)
    assert "OPENWHEEL_EDGE_KEY must hold a key" in told.stderr
    monkeypatch.setenv("OPENWHEEL_EDGE_KEY", "ow-x")
    for arguments, why in (
        (("desk.owb", *common), "An edge needs --upstream"),
        (("desk.owb", *upstream), "An edge needs --public-key"),
        (("none.owb", *common, *upstream), "The bundle none.owb cannot be read"),
        (("desk.owb", *common, *upstream, "--host", "0.0.0.0"), "requests need no key"),
    ):
        assert why in run_process("edge", *arguments, cwd=desk, code=2).stderr
