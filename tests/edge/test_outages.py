"""A link that is cut at random, and an edge that is killed: what arrives upstream, and what not.

An hour of a line's traffic, 4 requests a second of it, in two minutes; the short form takes six
minutes of such an hour. The link is there for about half of the time. Outages last from seconds to
ten minutes of the hour, and either refuse connections or swallow what is sent.
"""

import contextlib
import json
import math
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from cli.runner import run
from edge.conftest import TASK
from edge.link import LinkProxy
from edge.running import Running
from edge.test_edge import ELSE, Desk, answering, until
from openwheel.wire import bare_id

FASTER = 30
A_SECOND = 4
MOST = 8 << 20


class Line:
    """A line's terminal, whose clients never rest, and know what they were told."""

    def __init__(self, world: Desk, edge: Running, seed: int) -> None:
        self.world = world
        self.edge = edge
        self._draw = random.Random(seed)
        self._over = threading.Event()
        self._pause = threading.Event()
        self.answered: list[str] = []  # ids by which a client knows an answer
        self.promised: list[str] = []
        self.found: Counter[tuple[int, str]] = Counter()
        self.late: list[str] = []  # answers of a student that was known to be off
        self.off_since = math.inf
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(4)]

    def __enter__(self) -> "Line":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        draw = random.Random(self._draw.random() + number)
        while not self._over.wait(draw.expovariate(A_SECOND * FASTER / len(self._threads))):
            with self._lock:
                text = next(self.world.words)["input"]
            kind = draw.random()
            try:
                self._ask(text, kind)
            except (OSError, ValueError, AssertionError):
                continue  # it was killed, and answers nobody
            except Exception as error:
                if "IncompleteRead" not in repr(error) and "BadStatusLine" not in repr(error):
                    raise

    def _ask(self, text: str, kind: float) -> None:
        begun = time.monotonic()
        if kind < 0.1:
            answered = self.edge.ask(text, system=ELSE)
        elif kind < 0.2:
            answered = self.edge.ask(f"nothing like it {text[::-1]}", prefer="respond-async")
        else:
            answered = self.edge.ask(text)
        with self._lock:
            self.found[answered.status, answered.source] += 1
            if answered.status == 202:
                self.promised.append(answered.body["id"])
            elif answered.status == 200:
                self.answered.append(bare_id(answered.body["id"]))
                if answered.source == "student" and begun > self.off_since:
                    self.late.append(answered.body["id"])


def biggest(folder: Path, over: threading.Event, found: list[int]) -> None:
    """Watch how many bytes the spool takes."""
    while not over.wait(0.01):
        size = 0
        for name in ("edge.db", "edge.db-wal", "edge.db-shm"):
            with contextlib.suppress(OSError):
                size += (folder / name).stat().st_size
        found[0] = max(found[0], size)


def trouble(
    line: Line, link: LinkProxy, *, seconds: float, kills: int, mean: float, draw: random.Random
) -> None:
    """Cut the link and kill the edge at random until so many seconds have passed.

    Args:
        mean: Of the seconds until the link changes.
    """
    end = time.monotonic() + seconds
    kill_at = sorted(time.monotonic() + draw.uniform(0, seconds) for _ in range(kills))
    cut, change_at, killed, cuts = False, time.monotonic(), 0, 0
    while (now := time.monotonic()) < end:
        if now >= change_at:
            cut = not cut
            cuts += cut
            if cut:
                draw.choice([link.cut, link.hang])()
            else:
                link.mend()
            change_at = now + min(draw.expovariate(1 / mean), 600.0 / FASTER)
        if kill_at and now >= kill_at[0]:
            del kill_at[0]
            line.edge.kill()
            killed += 1
            line.edge.start()
        time.sleep(0.005)
    link.mend()
    assert cuts
    assert killed + len(kill_at) == kills


def outages(world: Desk, *, seconds: float, kills: int, mean: float, seed: int) -> None:
    more = {"mean": mean, "draw": random.Random(seed)}
    edge = world.edge("--spool-bytes", MOST, timeout=0.5)
    until(lambda: answering(edge))
    over, most = threading.Event(), [0]
    watching = threading.Thread(target=biggest, args=(world.folder / "edge", over, most))
    watching.start()
    try:
        with Line(world, edge, seed) as line:
            trouble(line, world.link, seconds=seconds / 2, kills=kills - kills // 2, **more)
            world.link.mend()
            until(lambda: edge.health()["link"] == "up")
            off(world, line)
            trouble(line, world.link, seconds=seconds / 4, kills=kills // 2, **more)
            assert line.late == []
            on_again(world, line)
            trouble(line, world.link, seconds=seconds / 4, kills=0, **more)
        world.settle(edge)
    finally:
        over.set()
        watching.join()
    check(world, edge, line, most[0])


def off(world: Desk, line: Line) -> None:
    """Take the student off; it is known to be heard once the edge acknowledges it."""
    run("demote", TASK, cwd=world.folder)
    tag = until(lambda: _demoted_tag(world))
    assert world.link.expect(f"if-none-match: {tag}".encode()).wait(30)
    line.off_since = time.monotonic()


def _demoted_tag(world: Desk) -> str:
    told = world.upstream.get("/v1/edge/state", world.secret)
    return "" if told.body["students"] else told.headers["etag"]


def on_again(world: Desk, line: Line) -> None:
    line.off_since = math.inf
    run("promote", TASK, cwd=world.folder)


def check(world: Desk, edge: Running, line: Line, most: int) -> None:
    stored = world.stored()
    ids = Counter(one.id for one in stored)
    known = Counter(bare_id(one.reply_id or one.id) for one in stored if "-audit" not in one.id)
    assert set(ids.values()) == {1}
    assert [one for one in line.answered if known[one] != 1] == []
    assert [one for one in line.promised if ids[one] != 1] == []
    assert len(set(line.answered)) == len(line.answered)
    assert len(line.answered) > 100
    assert len(line.promised) > 5
    # Who got no answer is nobody's loss; what was stored without one is what a kill broke off.
    assert 0 < most <= MOST
    health = edge.health()
    assert health["deleted_student"] + health["deleted_teacher"] + health["deleted_audits"] == 0
    assert health["refused"] + health["given_up"] + health["lost_audits"] == 0
    # The coin picks the share that it says, outages or not: of what a student answered here, and of
    # what it deferred. Each has its probability, and the picks are within 4.5 standard deviations.
    for picks, of in (_audits(stored), _deferred(stored)):
        expected = sum(of)
        spread = math.sqrt(sum(chance * (1 - chance) for chance in of))
        assert abs(picks - expected) <= 4.5 * spread, (picks, expected, spread)


def _audits(stored: list) -> tuple[int, list[float]]:
    """Return how many answers of students were audited, and the chance of each."""
    answers = [one for one in stored if one.source == "student"]
    audited = {one.id.removesuffix("-audit") for one in stored if one.id.endswith("-audit")}
    return len([1 for one in answers if one.id in audited]), [
        one.audit_probability for one in answers
    ]


def _deferred(stored: list) -> tuple[int, list[float]]:
    """Return how many deferred requests were picked, and the chance of each, of those answered."""
    deferred = [one for one in stored if one.source == "teacher" and one.student]
    deferred = [one for one in deferred if one.student_answer is None]
    texts = Counter(json.loads(one.request)["messages"][-1]["content"] for one in deferred)
    assert set(texts.values()) <= {1, 2}
    queued = [one for one in deferred if "nothing like it" in one.request.decode()]
    return len([1 for one in queued if one.unbiased]), [one.audit_probability for one in queued]


@pytest.fixture
def world(desk: Path):
    with contextlib.ExitStack() as stack:
        yield Desk(desk, stack)


def test_each_exchange_arrives_once_whatever_breaks(world):
    outages(world, seconds=10.0, kills=3, mean=0.6, seed=5)


@pytest.mark.evidence
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_hour_of_outages(world, seed):
    outages(world, seconds=3_600 / FASTER, kills=12, mean=60.0 / FASTER, seed=seed)
