"""What an edge does with requests of several questions, some of which students here answer."""

import asyncio
import contextlib
import http.client
import json
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from edge.running import until
from gateway.test_decisions import PATHS, QuestionServing
from openwheel.edge import link as links
from openwheel.edge.agent import Edge
from openwheel.edge.link import Link
from openwheel.edge.messages import EXCHANGES_PATH, STATE_PATH, Batch, Taken
from openwheel.edge.spool import Spool
from openwheel.edge.standing import State
from openwheel.edge.upstream_teacher import UpstreamTeacher
from openwheel.gateway import CaptureWriter, create_app, gateway_thread
from openwheel.loop.serving import Decision
from openwheel.settings import CaptureSection, Settings
from openwheel.store import Exchange
from openwheel.teachers import HttpTeacher
from teacher import Asked, Teacher, respond
from wire.decisions import ANSWERS, NAMES, answering, asking

NAME = "decisions"
TYPES = ("predicate", "choice", "score")


class Upstream:
    """A gateway that keeps what it is sent, and whose link a test cuts."""

    def __init__(self) -> None:
        self.stored: list[Exchange] = []
        self.asked: list[Asked] = []
        self.cut = self.breaks_off = False

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.close()
        elif asked.path == STATE_PATH:
            writer.write(respond(State(edge="line-7").encode()))
        elif asked.path == EXCHANGES_PATH:
            batch = msgspec.json.decode(zlib.decompress(asked.body), type=Batch)
            self.stored += batch.exchanges
            taken = Taken(stored=len(batch.exchanges), repeated=0)
            writer.write(respond(msgspec.json.encode(taken)))
        else:
            self.asked.append(asked)
            places = [TYPES.index(one["type"]) for one in json.loads(asked.body)["questions"]]
            said = respond(answering(NAME, *places), "x-openwheel-teacher: big%20one")
            writer.write(said[:-20] if self.breaks_off else said)
            if self.breaks_off:
                writer.close()


class Desk:
    """An edge in this process; its students answer questions of some types."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, serving) -> None:
        self.upstream = Upstream()
        server = stack.enter_context(Teacher(self.upstream))
        self.spool = Spool(folder / "edge.db", 8 << 20)
        stack.callback(self.spool.close)

        def connection() -> HttpTeacher:
            return HttpTeacher(server.url, name="upstream", is_gateway=True)

        self.link = Link(
            connection,
            self.spool,
            obey=lambda *_: None,
            heard=lambda: None,
            tick=lambda: None,
            installed=lambda: "",
            state=None,
            scratch=folder,
            poll=0.05,
            timeout=2.0,
        )
        self.edge = Edge(
            self.spool, self.link, SimpleNamespace(unheard=False), poll=0.05, queue=False
        )
        capture = CaptureWriter(self.spool)
        app = create_app(
            UpstreamTeacher(connection(), self.link),
            serving,
            capture,
            settings=Settings(capture=CaptureSection(mode="strict")),
            edge=self.edge,
        )
        self.link.start()
        stack.callback(capture.close, 1.0)
        stack.callback(self.edge.close)
        stack.callback(self.link.stop)
        url = stack.enter_context(gateway_thread(app))
        self.port = int(url.rpartition(":")[2])

    def ask(self, body: bytes, **headers: str) -> tuple[int, dict, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", PATHS[NAME], body, headers)
            response = connection.getresponse()
            said = json.loads(response.read())
        return response.status, said, dict(response.getheaders())

    def down(self) -> None:
        self.upstream.cut = True
        until(lambda: not self.link.up)

    def stored(self, number: int) -> dict[str, Exchange]:
        """Wait until so many exchanges are upstream, and no more come; return them by id."""
        until(lambda: len(self.upstream.stored) >= number)
        until(lambda: not self.spool.backlog().exchanges + self.spool.backlog().waiting)
        found = {one.id: one for one in self.upstream.stored}
        assert len(found) == len(self.upstream.stored) == number
        return found


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "_IDLE_S", 0.02)
    with contextlib.ExitStack() as stack:
        yield lambda kind=QuestionServing, **given: Desk(tmp_path, stack, kind(**given))


def kinds(found: dict[str, Exchange]) -> Counter[tuple[str, str, bool, bool]]:
    return Counter(
        (one.source, one.student, one.unbiased, one.student_answer is not None)
        for one in found.values()
    )


def test_each_question_is_audited_as_an_exchange_of_its_own(desk):
    desk = desk(sure=TYPES[:2], audit_probability=1.0)
    status, said, headers = desk.ask(asking(NAME))
    assert (status, headers["x-openwheel-source"]) == (200, "mixed")
    assert len(said["answers"]) == 3
    found = desk.stored(5)
    assert kinds(found) == {
        ("student", "predicate-1", False, False): 1,
        ("student", "choice-1", False, False): 1,
        ("teacher", "predicate-1", True, True): 1,
        ("teacher", "choice-1", True, True): 1,
        ("teacher", "score-1", True, False): 1,
    }
    audits = {one.id for one in found.values() if one.id.endswith("-audit")}
    assert {one.removesuffix("-audit") for one in audits} < set(found)
    assert {one.teacher for one in found.values() if one.source == "teacher"} == {"big one"}
    for one in found.values():
        (question,) = json.loads(one.request)["questions"]
        assert one.answer == ANSWERS[TYPES.index(question["type"])]


def test_in_an_outage_the_picked_questions_of_a_refused_request_are_asked_later(desk):
    desk = desk(sure=TYPES[:2], audit_probability=1.0)
    desk.down()
    status, said, headers = desk.ask(asking(NAME))
    assert (status, said["error"]["code"], headers["retry-after"]) == (503, "link_down", "1")
    until(lambda: desk.spool.backlog().waiting == 1)
    desk.upstream.cut = False
    found = desk.stored(3)
    # The client got no answer of a student; what each would have said stands beside the teacher's.
    assert kinds(found) == {
        ("teacher", "predicate-1", True, True): 1,
        ("teacher", "choice-1", True, True): 1,
        ("teacher", "score-1", True, False): 1,
    }
    assert not any(one.endswith("-audit") for one in found)
    (asked,) = desk.upstream.asked
    assert len(json.loads(asked.body)["questions"]) == len(NAMES)
    assert asked.headers["x-openwheel-edge"] == "teacher"


@pytest.mark.parametrize("by_students", [0, 1])
def test_what_was_picked_is_asked_again_if_its_answer_breaks_off(desk, by_students):
    desk = desk(sure=TYPES[:by_students], audit_probability=1.0)
    desk.upstream.breaks_off = True
    if by_students:  # the client has nothing yet, and gets an error
        status, said, _ = desk.ask(asking(NAME))
        assert (status, said["error"]["code"]) == (502, "teacher_broke_off")
    else:
        with pytest.raises(http.client.HTTPException):  # it has the beginning
            desk.ask(asking(NAME))
    assert desk.link.up
    until(lambda: len(desk.upstream.asked) > 2)
    desk.upstream.breaks_off = False
    assert kinds(desk.stored(3)) == {
        ("teacher", "predicate-1", True, by_students == 1): 1,
        ("teacher", "choice-1", True, False): 1,
        ("teacher", "score-1", True, False): 1,
    }


def test_students_that_are_sure_answer_all_of_it_in_an_outage_and_are_audited_later(desk):
    desk = desk(audit_probability=1.0, canary=0.0)
    desk.down()
    status, said, headers = desk.ask(asking(NAME))
    assert (status, headers["x-openwheel-source"]) == (200, "student")
    assert len(said["answers"]) == 3
    until(lambda: desk.spool.backlog().waiting == 1)
    desk.upstream.cut = False
    found = desk.stored(6)
    assert Counter(one.source for one in found.values()) == {"student": 3, "teacher": 3}
    assert sum(one.id.endswith("-audit") for one in found.values()) == 3


def test_a_request_that_is_to_be_sent_later_is_whole_and_its_questions_are_apart(desk):
    desk = desk(sure=TYPES[:1], audit_probability=0.0)
    desk.down()
    status, said, headers = desk.ask(asking(NAME), prefer="respond-async, wait=1")
    assert (status, headers["preference-applied"]) == (202, "respond-async")
    desk.upstream.cut = False
    found = desk.stored(3)
    assert {one.split(".")[0] for one in found} == {said["id"]}
    assert not any(one.unbiased for one in found.values())


class Nobody(QuestionServing):
    """Has a student for no question."""

    def decide(self, request, task="", key=""):
        return Decision(task="t", reason="no student")


def test_where_no_student_takes_part_the_upstream_records(desk):
    desk = desk(Nobody)
    assert desk.ask(asking(NAME))[0] == 200
    desk.down()
    assert desk.ask(asking(NAME), prefer="respond-async")[0] == 202
    desk.upstream.cut = False
    until(lambda: len(desk.upstream.asked) == 2)
    until(lambda: not desk.spool.backlog().waiting)
    assert desk.upstream.stored == []
    ids = [asked.headers["x-openwheel-exchange"] for asked in desk.upstream.asked]
    assert len(set(ids)) == 2
    assert {asked.headers["x-openwheel-edge"] for asked in desk.upstream.asked} == {"anybody"}
