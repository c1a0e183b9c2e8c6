"""What an upstream gateway takes of edges, and what it tells them."""

import contextlib
import json
import time
import zlib
from pathlib import Path

import msgspec
import pytest

from edge.conftest import SYSTEM, TASK, request_of
from edge.running import Running
from openwheel.access import Access, KeyStore
from openwheel.edge import edge_routes
from openwheel.edge.messages import MOST_SENT, Batch
from openwheel.edge.standing import State
from openwheel.gateway import CaptureWriter, create_app, gateway_thread
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.store import Exchange, Store
from openwheel.teachers import HttpTeacher
from openwheel.wire import Answer, ordered_id
from teacher import Teacher, says

STATE, BUNDLE, EXCHANGES = (f"/v1/edge/{name}" for name in ("state", "bundle", "exchanges"))


class Upstream(Running):
    """A gateway in this process."""

    def __init__(self, port: int, store: Store, registry: Registry, access: Access) -> None:
        self.port, self.store, self.registry, self.access = port, store, registry, access
        self.keys = KeyStore(store)
        self.started = store.last_seq()

    def key(self, name: str, **scope) -> str:
        """Make a key and have the gateway know it."""
        _, secret = self.keys.create(name, **scope)
        self.access.refresh()
        return secret

    def send(self, *exchanges: Exchange, key: str) -> dict:
        answered = self.ask_raw("POST", EXCHANGES, msgspec.json.encode(Batch(exchanges)), key)
        assert answered.status == 200, answered.body
        return answered.body

    def stored(self) -> list[Exchange]:
        return [exchange for _, exchange in self.store.exchanges(after=self.started)]

    @property
    def student(self) -> str:
        (promotion,) = self.registry.promotions().values()
        return promotion.certificate.student


@pytest.fixture
def upstream(desk: Path, tmp_path: Path):
    with contextlib.ExitStack() as stack:
        teacher = stack.enter_context(Teacher(says("billing")))
        store = stack.enter_context(Store.open(desk / "openwheel.db"))
        registry = Registry(store)
        access = Access(store, tmp_path / "limits", required=True)
        stack.callback(access.close)
        capture = CaptureWriter(store)
        stack.callback(capture.close, 1.0)
        app = create_app(
            HttpTeacher(teacher.url, name="own"),
            RegistryServing(registry),
            capture,
            access=access,
            routes=edge_routes(registry, access, str(desk / "desk.owb"), keeps=True),
            refresh_every=0.05,
        )
        url = stack.enter_context(gateway_thread(app))
        yield Upstream(int(url.rpartition(":")[2]), store, registry, access)


def answered_by(upstream: Upstream, kind: str, text: str = "lost parcel 1", **more) -> Exchange:
    """Return an exchange as an edge sends it: of a ``student``, its ``audit``, or ``deferred``."""
    exchange = Exchange(
        id=ordered_id(),
        time=time.time(),
        request=json.dumps(request_of(text)).encode(),
        answer=Answer("delivery"),
        source="student" if kind == "student" else "teacher",
        model=upstream.student if kind == "student" else "big",
        student=upstream.student,
        student_answer="delivery" if kind == "audit" else None,
        unbiased=kind == "audit",
        audit_probability=0.2,
        confidence=0.9,
        key="somebody else",
    )
    return msgspec.structs.replace(exchange, **more)


def test_only_edges_are_served(upstream):
    client = upstream.key("client")
    for method, path in (("GET", STATE), ("GET", BUNDLE), ("POST", EXCHANGES)):
        assert upstream.ask_raw(method, path, b"{}").status == 401
        refused = upstream.ask_raw(method, path, b"{}", client)
        assert refused.status == 403
        assert refused.body["error"]["code"] == "edge_not_allowed"
        wrong = "POST" if method == "GET" else "GET"
        assert upstream.ask_raw(wrong, path, b"", client).status == 405


def test_the_state_has_a_tag_and_changes_with_what_is_promoted(upstream):
    edge = upstream.key("line-7", edge=True)
    first = upstream.get(STATE, edge)
    state = msgspec.convert(first.body, State)
    (standing,) = state.students.values()
    assert (state.edge, state.stopped) == ("line-7", False)
    assert standing.student == upstream.student
    assert len(state.bundle) == 64
    tag = first.headers["etag"]
    assert upstream.get(STATE, edge, if_none_match=tag).status == 304
    upstream.registry.set_stopped(True, by="a test")
    stopped = upstream.get(STATE, edge, if_none_match=tag)
    assert (stopped.status, stopped.body["stopped"]) == (200, True)
    upstream.registry.set_stopped(False, by="a test")
    assert upstream.get(STATE, edge, if_none_match=tag).status == 304
    upstream.registry.demote(next(iter(state.students)), by="user", reason="a test")
    demoted = upstream.get(STATE, edge, if_none_match=tag)
    assert (demoted.status, demoted.body["students"]) == (200, {})


def test_an_edge_sees_the_students_that_may_answer_it(upstream):
    other = upstream.key("other", edge=True, tasks=["invoices*"])
    assert upstream.get(STATE, other).body["students"] == {}
    candidate = upstream.registry.candidate(upstream.student)
    odd = upstream.key("odd", edge=True)
    assert len(upstream.get(STATE, odd).body["students"]) == 1
    with upstream.store.write() as transaction:
        from openwheel.store import students

        outside = msgspec.structs.replace(candidate, outside=("odd",))
        students.put(transaction, candidate.id, outside)
    # The registry's version does not change with that, as none of its own writes does that.
    upstream.registry.set_stopped(True, by="a test")
    assert upstream.get(STATE, odd).body["students"] == {}
    assert len(upstream.get(STATE, upstream.key("even", edge=True)).body["students"]) == 1


def test_the_bundle_is_served_as_it_was_signed(upstream, desk):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=10)
    with contextlib.closing(connection):
        bearer = {"authorization": f"Bearer {upstream.key('line-7', edge=True)}"}
        connection.request("GET", BUNDLE, headers=bearer)
        assert connection.getresponse().read() == (desk / "desk.owb").read_bytes()
    (desk / "desk.owb").unlink()
    gone = upstream.get(BUNDLE, upstream.key("line-8", edge=True))
    assert (gone.status, gone.body["error"]["code"]) == (404, "no_bundle")
    assert upstream.get(STATE, upstream.key("line-9", edge=True)).body["bundle"] == ""


def test_an_exchange_is_stored_once_under_the_edges_name(upstream):
    edge = upstream.key("line-7", edge=True)
    first, second = answered_by(upstream, "student"), answered_by(upstream, "audit")
    assert upstream.send(first, key=edge) == {"stored": 1, "repeated": 0, "refused": []}
    again = upstream.send(first, second, first, key=edge)
    assert again == {"stored": 1, "repeated": 2, "refused": []}
    assert upstream.stored() == [
        msgspec.structs.replace(first, key="line-7"),
        msgspec.structs.replace(second, key="line-7"),
    ]


def test_batches_may_be_packed_and_are_bounded(upstream):
    edge = upstream.key("line-7", edge=True)

    def send(body: bytes, coding: str = "") -> tuple[int, str]:
        headers = {"content_encoding": coding} if coding else {}
        answered = upstream.ask_raw("POST", EXCHANGES, body, edge, **headers)
        return answered.status, json.dumps(answered.body)

    exchange = answered_by(upstream, "student")
    packed = zlib.compress(msgspec.json.encode(Batch((exchange,))))
    assert send(packed, "deflate")[0] == 200
    for body, coding, why in (
        (packed[:-9], "deflate", "is cut"),
        (packed, "", "cannot be read"),
        (b"{", "", "cannot be read"),
        (b'{"exchanges":[],"more":1}', "", "unknown field"),
        (zlib.compress(b" " * (100 << 20)), "deflate", "more than"),
        (msgspec.json.encode(Batch((exchange,) * (MOST_SENT + 1))), "", "at most 500"),
    ):
        status, said = send(body, coding)
        assert status == 400
        assert why in said
    assert len(upstream.stored()) == 1


NOT_MADE = [
    ("student", {"unbiased": True}, "a student's answer is no evidence"),
    ("student", {"student": ""}, "names no student"),
    ("student", {"student_answer": "x"}, "has another beside it"),
    ("student", {"source": "log"}, "no logs"),
    ("audit", {"id": ""}, "its id"),
    ("audit", {"id": "x\n"}, "its id"),
    ("audit", {"student": "linear-000000000000"}, "was never promoted here"),
    ("audit", {"student": ""}, "needs the coin"),
    ("audit", {"audit_probability": 0.0}, "needs the coin"),
    ("audit", {"audit_probability": 1.5}, r"in (0, 1]"),
    ("deferred", {"unbiased": True, "student": ""}, "evidence about no student"),
    ("audit", {"teacher": "x" * 501}, "too long"),
    ("audit", {"reply_id": "a\x00b"}, "id of its answer"),
    ("audit", {"request": b"{}"}, "its request cannot be read"),
    ("audit", {"request": b"\xff"}, "its request cannot be read"),
]


def test_what_no_edge_can_have_made_is_refused_alone(upstream):
    edge = upstream.key("line-7", edge=True)
    kept = []
    for kind, changed, why in NOT_MADE:
        bad, good = answered_by(upstream, kind, **changed), answered_by(upstream, "student")
        taken = upstream.send(bad, good, key=edge)
        assert taken["stored"] == 1
        (refused,) = taken["refused"]
        assert refused["id"] == bad.id
        assert why in refused["reason"]
        kept.append(good.id)
    assert [exchange.id for exchange in upstream.stored()] == kept
    # JSON has no such number, so it is no batch at all.
    body = msgspec.json.encode(Batch((answered_by(upstream, "student"),)))
    endless = body.replace(b'"time":', b'"time":1e999,"x":')
    assert upstream.ask_raw("POST", EXCHANGES, endless, edge).status == 400


def test_no_evidence_for_tasks_that_the_key_may_not_send(upstream):
    other = upstream.key("other", edge=True, tasks=["invoices*"])
    audit = answered_by(upstream, "audit", student_answer="billing")
    for forged in (audit, msgspec.structs.replace(audit, task="invoices-1")):
        (refused,) = upstream.send(forged, key=other)["refused"]
        assert "the key may not send exchanges of" in refused["reason"]
    assert upstream.stored() == []
    # A request of one task with the student of another: that student's monitors do not see it.
    request = json.dumps(request_of("x", "Another system message, of no task.")).encode()
    edge = upstream.key("line-7", edge=True)
    upstream.send(msgspec.structs.replace(audit, request=request), key=edge)
    (stored,) = upstream.stored()
    assert not stored.unbiased
    (mine,) = (answered_by(upstream, "audit"),)
    upstream.send(mine, key=upstream.key("own", edge=True, tasks=[TASK]))
    assert upstream.stored()[-1].unbiased


def test_a_time_that_lies_ahead_is_that_of_its_arrival(upstream):
    edge = upstream.key("line-7", edge=True)
    upstream.send(answered_by(upstream, "student", time=time.time() + 86_400), key=edge)
    (stored,) = upstream.stored()
    assert stored.time <= time.time()


def test_a_gateway_that_keeps_nothing_takes_nothing(upstream):
    routes = edge_routes(upstream.registry, upstream.access, "", keeps=False)
    app = create_app(
        HttpTeacher("http://127.0.0.1:9"),
        RegistryServing(upstream.registry),
        access=upstream.access,
        routes=routes,
    )
    with gateway_thread(app) as url:
        upstream.port = int(url.rpartition(":")[2])
        edge = upstream.key("line-7", edge=True)
        refused = upstream.ask_raw("POST", EXCHANGES, b'{"exchanges":[]}', edge)
        assert (refused.status, refused.body["error"]["code"]) == (404, "capture_off")


def test_an_edge_asks_a_teacher_alone_and_keeps_the_exchange_itself(upstream):
    edge, client = upstream.key("line-7", edge=True), upstream.key("client")
    text = "lost parcel courier late 17"
    asked = upstream.ask(text, key=edge, x_openwheel_edge="teacher")
    assert (asked.status, asked.source, asked.text) == (200, "teacher", "billing")
    assert asked.headers["x-openwheel-teacher"] == "own"
    # Others cannot ask for it.
    for key, headers in ((client, {"x_openwheel_edge": "teacher"}), (edge, {})):
        plain = upstream.ask(text, key=key, **headers)
        assert "x-openwheel-teacher" not in plain.headers
        assert (plain.source, plain.text) in {("student", "delivery"), ("teacher", "billing")}
    refused = upstream.ask(text, key=edge, x_openwheel_edge="nobody")
    assert (refused.status, refused.body["error"]["code"]) == (400, "edge_header")
    deadline = time.monotonic() + 5
    while len([one for one in upstream.stored() if "-audit" not in one.id]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert {one.key for one in upstream.stored()} == {"client", "line-7"}


def test_a_forwarded_request_has_the_id_that_its_edge_gave_it(upstream):
    edge, identity = upstream.key("line-7", edge=True), ordered_id()
    for _ in range(2):
        upstream.ask(
            *("hello",),
            system="Another system message, of no task.",
            key=edge,
            x_openwheel_edge="anybody",
            x_openwheel_exchange=identity,
        )
    deadline = time.monotonic() + 5
    while not upstream.stored():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    assert [one.id for one in upstream.stored()] == [identity]
    assert SYSTEM.encode() not in upstream.stored()[0].request
