"""What becomes of what waits, whatever the upstream gateway answers."""

import asyncio
import contextlib
import json
import time
import zlib
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from edge.conftest import request_of
from edge.running import until
from edge.test_spool import exchange
from openwheel.edge import link as links
from openwheel.edge.link import Link
from openwheel.edge.messages import EXCHANGES_PATH, STATE_PATH, Batch, Taken
from openwheel.edge.spool import Spool
from openwheel.edge.standing import State
from openwheel.edge.waiting import Waiting
from openwheel.teachers import HttpTeacher
from openwheel.wire import Answer, ordered_id
from teacher import Asked, Teacher, respond, says

SAYS = says("billing")


class Upstream:
    """A gateway that answers what a test says."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.stored: list[str] = []
        self.state = (200, State(edge="line-7").encode())
        self.taking = 200
        self.failing: dict[str, int] = {}  # statuses, by a word in the request
        self.teacher_down = False

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked[asked.path] += 1
        if asked.path == STATE_PATH:
            status, body = self.state
            writer.write(respond(body, status=status))
        elif asked.path == EXCHANGES_PATH:
            batch = msgspec.json.decode(zlib.decompress(asked.body), type=Batch)
            new = [one.id for one in batch.exchanges if one.id not in self.stored]
            if self.taking != 200:
                writer.write(respond(b"{}", status=self.taking))
                return
            self.stored += new
            writer.write(respond(msgspec.json.encode(Taken(stored=len(new), repeated=0))))
        else:
            text = json.loads(asked.body)["messages"][-1]["content"]
            self.asked[text] += 1
            status = 503 if self.teacher_down else self.failing.get(text, 200)
            if status == 200:
                await SAYS(asked, writer)
            else:
                writer.write(respond(b'{"error":{}}', status=status))


@pytest.fixture
def upstream():
    return Upstream()


@pytest.fixture
def spool(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(links, "_IDLE_S", 0.01)
    monkeypatch.setattr(links, "_FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(links, "_LONGEST_BACKOFF_S", 0.05)
    monkeypatch.setattr(links, "_MOST_TRIES", 3)
    opened = Spool(tmp_path / "edge.db", 8 << 20)
    yield opened
    opened.close()


@pytest.fixture
def link(upstream: Upstream, spool: Spool, tmp_path: Path):
    with contextlib.ExitStack() as stack:
        teacher = stack.enter_context(Teacher(upstream))
        made = Link(
            lambda: HttpTeacher(teacher.url, name="upstream", is_gateway=True),
            spool,
            obey=lambda *_: None,
            heard=lambda: None,
            tick=lambda: None,
            installed=lambda: "",
            state=None,
            scratch=tmp_path,
            poll=0.05,
            timeout=2.0,
        )
        made.start()
        stack.callback(made.stop)
        yield made


def keep(spool: Spool, text: str, *, promised: bool = False) -> None:
    made = exchange("picked", size=0)
    spool.wait(
        made.id,
        Waiting(
            api="chat",
            path="/v1/chat/completions",
            headers=(("content-type", "application/json"),),
            marks=(("x-openwheel-edge", "teacher"),),
            body=json.dumps(request_of(text)).encode(),
            model="big",
            exchanges=(msgspec.structs.replace(made, request=b"", answer=Answer("")),),
        ),
        promised=promised,
    )


def test_a_batch_that_is_not_taken_is_sent_again(link, spool, upstream):
    upstream.taking = 503
    kept = [exchange("student") for _ in range(250)]
    spool.append(kept)
    until(lambda: upstream.asked[EXCHANGES_PATH] > 2)
    until(lambda: "Exchanges were not taken" in link.problem())
    assert spool.backlog().exchanges == 250
    upstream.taking = 200
    until(lambda: not spool.backlog().exchanges)
    assert upstream.stored == [one.id for one in kept]  # in the order in which they came
    until(lambda: not link.problem())


def test_a_request_is_given_up_only_while_others_are_answered(link, spool, upstream):
    upstream.failing = {"poison": 500}
    keep(spool, "poison", promised=True)
    until(lambda: upstream.asked["poison"] > 10)
    assert spool.counts.given_up == 0  # it might be all that the teacher does not answer
    for number in range(40):
        keep(spool, f"whole {number}")
        time.sleep(0.01)
    until(lambda: spool.counts.given_up == 1)
    until(lambda: spool.counts.asked == 40)
    assert spool.waiting(limit=10) == []


def test_an_outage_of_the_teacher_upstream_gives_nothing_up(link, spool, upstream):
    upstream.teacher_down = True
    for number in range(20):
        keep(spool, f"text {number}")
    until(lambda: upstream.asked["text 0"] > 10)
    assert len(spool.waiting(limit=100)) == 20
    # Those behind the first few are not asked in vain.
    assert upstream.asked["text 19"] == 0
    upstream.teacher_down = False
    until(lambda: spool.counts.asked == 20)
    until(lambda: len(upstream.stored) == 20)
    assert spool.counts.given_up == 0


def test_what_the_upstream_does_not_take_is_counted_and_asked_no_more(link, spool, upstream):
    upstream.failing = {"not mine": 403, "too long": 413}
    keep(spool, "not mine")
    keep(spool, "too long")
    until(lambda: spool.counts.refused == 1)
    until(lambda: spool.counts.asked == 1)  # a rejection is the teacher's answer, and evidence
    (made,) = until(lambda: upstream.stored)
    assert upstream.asked["not mine"] == 1
    assert made


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((401, b"{}"), "status 401"),
        ((200, b"{"), "cannot be read"),
        ((200, b'{"unknown":1}'), "cannot be read"),
    ],
)
def test_an_upstream_that_makes_no_sense_is_as_good_as_none(upstream, spool, link, said, why):
    until(lambda: upstream.asked[STATE_PATH] > 1)
    upstream.state = said
    until(lambda: why in link.error + link.problem())
    upstream.state = (200, State().encode())
    until(lambda: link.up and not link.problem())


def test_an_exchange_has_the_answer_and_the_teacher_that_gave_it(link, spool, upstream):
    upstream.taking = 500
    keep(spool, "who?")
    until(lambda: spool.counts.asked == 1)
    ((_, made),) = spool.unsent(limit=10)
    assert json.loads(made.request) == request_of("who?")
    assert (made.answer.text, made.unbiased, made.student) == ("billing", True, "s-1")
    assert made.latency_ms > 0
    assert len(made.id) == len(ordered_id())
