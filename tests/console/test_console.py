"""The console over HTTP: its pages, its actions, and what attacks find."""

import json
import socket
import threading
import time
import tomllib

import pytest

from openwheel.access import KeyStore
from openwheel.loop.serving import RegistryServing
from openwheel.settings import AlertSection
from openwheel.store.feedback import FeedbackStore
from openwheel.wire import APIS
from teacher import Teacher, respond

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}\x00\u202e</textarea>'
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


def request(text="invoice tax 1"):
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    return APIS["chat"].read_request(body)


def test_the_first_screen_says_whether_the_promise_is_kept(console, traffic):
    traffic("ssss" + "." * 99 + "x" + "dD")
    page = console().get("/console")
    assert page.status == 200
    for said in ("kept", "Answered here", "Saved, net of audits", "Tasks in breach", "n = 100"):
        assert said in page.text
    assert "1.00% [0." in page.text
    assert page.text.count("<dt>") <= 7
    for name, value in HEADERS.items():
        assert page.headers[name] == value
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]


def test_a_student_that_breaks_its_promise_is_shown(console, traffic):
    traffic("." * 20 + "x" * 20)
    page = console().get("/console")
    for said in ("alarm", "off", "Needs you", "disagree"):
        assert said in page.text


def test_a_key_that_expires_soon_needs_a_person(console, store):
    keys = KeyStore(store)
    keys.create("desk", expires=time.time() + 3 * 86_400)
    keys.create("lab", expires=time.time() + 30 * 86_400)
    page = console().get("/console").text
    assert "The key &#39;desk&#39; expires soon" in page
    assert "&#39;lab&#39;" not in page


def test_every_page_of_a_task_and_its_exchanges(console, traffic, task, registry):
    newest = traffic("ssss" + ".." * 60 + "xx" + "dDdD" * 5)
    visitor = console()
    page = visitor.get(f"/console/tasks/{task}")
    assert page.status == 200
    for said in (
        *("Live disagreement", "Coverage against disagreement, live", "holds"),
        *("What another limit would give", "By answer, in the certificate", "Prompt template"),
        "How reliable its probabilities are",
    ):
        assert said in page.text
    (certificate,) = registry.certificates()
    given = visitor.get(f"/console/tasks/{task}/certificates/{certificate.id}")
    assert given.headers["content-disposition"].startswith("attachment")
    assert json.loads(given.text)["id"] == certificate.id
    listed = visitor.get("/console/exchanges?pairs=differ")
    assert listed.text.count("differs") >= 2
    assert "left it to the teacher" in visitor.get(f"/console/exchanges/{newest}").text
    for path in ("tasks/none", "exchanges/999999", f"tasks/{task}/certificates/0", "nothing"):
        assert visitor.get(f"/console/{path}").status == 404


def test_a_search_goes_on_where_the_page_ends(console, traffic):
    traffic("." * 120)
    visitor, seen, path = console(), [], "/console/exchanges?source=teacher"
    while path:
        page = visitor.get(path)
        seen += [line for line in page.text.splitlines() if 'scope="row"' in line]
        _, found, rest = page.text.partition('rel="next" href="')
        path = rest.partition('"')[0].replace("&amp;", "&") if found else ""
    assert len(seen) == len(set(seen)) == 120
    assert "Nothing found" in visitor.get("/console/exchanges?text=no+such+text").text
    assert visitor.get("/console/exchanges?pairs=wrong").status == 400
    assert visitor.get("/console/exchanges?before=x").status == 400


def test_text_of_the_traffic_does_nothing(console, traffic, store, task):
    newest = traffic("xD", text=EVIL, answer=EVIL)
    FeedbackStore(store).put(newest, 0, comment=EVIL, correction=EVIL)
    visitor = console()
    for path in (
        *("", "/exchanges", f"/exchanges/{newest}", "/review", f"/tasks/{task}"),
        f"/exchanges?{'text=%22%3E%3Cscript%3E'}",
    ):
        page = visitor.get(f"/console{path}")
        assert page.status == 200, path
        assert "<script>" not in page.text, path
        assert "<img" not in page.text, path
        assert 'onerror="' not in page.text, path
        assert "\x00" not in page.text, path
        assert "49" not in page.text.partition("{{")[0][-4:], path
    assert "&lt;script&gt;" in visitor.get(f"/console/exchanges/{newest}").text


def test_texts_stay_hidden_until_they_are_asked_for(console, traffic, task):
    newest = traffic("x", text="a secret of a customer")
    visitor = console(hide_text=True)
    for path in (f"exchanges/{newest}", "exchanges", "review", f"tasks/{task}", ""):
        assert "secret" not in visitor.get(f"/console/{path}").text, path
    assert "secret" in visitor.get(f"/console/exchanges/{newest}?show=text").text
    assert "secret" in visitor.get("/console/exchanges?show=text").text


def test_one_button_has_teachers_answer_everything_and_one_undoes_it(console, registry, store):
    serving = RegistryServing(registry)
    visitor = console()
    assert serving.decide(request()).answer is not None
    assert visitor.act("/console/stop").status == 303
    assert serving.refresh()
    decided = serving.decide(request())
    assert (decided.answer, decided.reason, decided.audit_probability) == (None, "stopped", 1.0)
    assert serving.students() == {}
    page = visitor.get("/console")
    assert "teachers answer everything" in page.text
    assert "this machine" in page.text
    assert visitor.act("/console/resume").status == 303
    assert serving.refresh()
    assert serving.decide(request()).answer is not None
    assert registry.stops(limit=5)[0].stopped is False
    assert "students were stopped" in visitor.get("/console").text


def test_a_person_takes_a_student_off_and_puts_it_back(console, registry, task):
    visitor, page = console(), f"/console/tasks/{task}"
    assert visitor.act(f"{page}/demote", seen=page).status == 303
    assert registry.promotions()[task].certificate is None
    assert "demoted in the console by this machine" in visitor.get(page).text
    assert visitor.act(f"{page}/promote", seen=page).status == 303
    assert registry.promotions()[task].certificate is not None


def test_what_evidence_took_off_is_put_back_only_against_it(console, registry, task, traffic):
    traffic("x" * 30)
    visitor, page = console(), f"/console/tasks/{task}"
    refused = visitor.act(f"{page}/promote", seen=page)
    assert refused.status == 400
    assert "taken off by evidence" in refused.text
    assert visitor.act(f"{page}/promote", seen=page, against="yes").status == 303
    assert registry.promotions()[task].against_evidence


def test_a_limit_is_written_into_the_settings_file(console, task, tmp_path, registry):
    config, reloads = tmp_path / "openwheel.toml", []
    config.write_text('# mine\n[loop]\nepsilon = 0.05 # so\n[tasks."other"]\nfloor = 1.0\n')
    config.chmod(0o640)
    visitor, page = (
        console(config=config, reload=lambda: reloads.append(1)),
        f"/console/tasks/{task}",
    )
    for wrong in ("", "x", "0", "1", "-1", "nan"):
        assert visitor.act(f"{page}/limit", seen=page, epsilon=wrong).status == 400
    assert not reloads
    assert visitor.act(f"{page}/limit", seen=page, epsilon="0.02").status == 303
    written = tomllib.loads(config.read_text())
    name = registry.tasks()[0].task.name
    assert written["tasks"] == {"other": {"floor": 1.0}, name: {"epsilon": 0.02}}
    assert config.read_text().startswith("# mine\n[loop]\nepsilon = 0.05 # so\n")
    assert config.stat().st_mode & 0o777 == 0o640
    assert reloads == [1]
    config.write_text("[loop\n")
    assert visitor.act(f"{page}/limit", seen=page, epsilon="0.02").status == 400
    assert config.read_text() == "[loop\n"


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        ("teacher", "account"),
        ("student", "billing"),
        ("both", None),
        ("neither", None),
        ("other", "delivery"),
    ],
)
def test_a_judgement_is_feedback(console, traffic, store, verdict, kept):
    newest = traffic("x")
    visitor, page = console(), f"/console/exchanges/{newest}"
    said = {"correction": "delivery"} if verdict == "other" else {}
    assert visitor.act(f"{page}/judge", seen=page, verdict=verdict, **said).status == 303
    (feedback,) = FeedbackStore(store).on(newest)
    assert (feedback.verdict, feedback.correction, feedback.key) == (verdict, kept, 0)
    assert 'aria-pressed="true"' in visitor.get(page).text or verdict == "other"
    assert "Nothing is left to judge" in visitor.get("/console/review").text
    assert visitor.act(f"{page}/judge", seen=page, verdict="none").status == 303
    assert FeedbackStore(store).on(newest) == []


def test_judgements_that_cannot_be(console, traffic):
    newest = traffic("xs")
    visitor, page = console(), f"/console/exchanges/{newest - 1}"
    for fields in (
        {"verdict": "maybe"},
        {"verdict": "other", "correction": ""},
        {"verdict": "other", "correction": "no queue of ours"},
        {"verdict": "other", "correction": "x" * 70_000},
    ):
        assert visitor.act(f"{page}/judge", seen=page, **fields).status == 400
    there_is_none = visitor.act("/console/exchanges/999999/judge", verdict="teacher")
    assert there_is_none.status == 404
    # What a student answered without an audit has no second answer to judge it by.
    assert "Your judgement" not in visitor.get(f"/console/exchanges/{newest}").text


def test_the_review_begins_with_what_was_surest_and_goes_on(console, traffic, store):
    traffic("..xDx")
    visitor, judged = console(), []
    for _ in range(3):
        page = visitor.get("/console/review")
        seq = page.text.partition("/console/exchanges/")[2]
        action = page.text.partition('action="/console/exchanges/')[2].partition("/")[0]
        judged.append(int(action))
        assert seq
        sent = {"token": page.token, "verdict": "teacher", "onward": "/console/review"}
        done = visitor.ask("POST", f"/console/exchanges/{action}/judge", sent)
        assert done.headers["location"] == "/console/review"
    assert "Nothing is left" in visitor.get("/console/review").text
    last = store.last_seq()
    assert judged == [last, last - 2, last - 1]


def test_a_reader_cannot_act_and_strangers_log_in(console, store, traffic):
    newest = traffic("x")
    keys = KeyStore(store)
    _, reader = keys.create("auditor", console="read")
    _, operator = keys.create("lead", console="operate")
    visitor = console(keys=True)
    for path in ("", "/review", f"/exchanges/{newest}"):
        asked = visitor.get(f"/console{path}")
        assert asked.status == 303
        assert asked.headers["location"].startswith("/console/login?to=%2Fconsole")
    assert visitor.ask("POST", "/console/stop", {}).headers["location"] == "/console/login"
    assert visitor.ask("POST", "/console/login", {"key": "ow-wrong"}).status == 401
    inside = visitor.ask("POST", "/console/login", {"key": reader, "to": "//evil.example"})
    assert (inside.status, inside.headers["location"]) == (303, "/console")
    page = visitor.get("/console")
    assert "auditor (read only)" in page.text
    assert "/console/stop" not in page.text
    token = page.token  # of the form to log out
    for path in ("/console/stop", f"/console/exchanges/{newest}/judge"):
        refused = visitor.ask("POST", path, {"token": token, "verdict": "teacher"})
        assert refused.status == 403
        assert "may read here, and not act" in refused.text
    assert visitor.act("/console/logout").headers["location"] == "/console/login"
    assert visitor.get("/console").status == 303
    visitor.ask("POST", "/console/login", {"key": operator})
    assert visitor.act("/console/stop").status == 303
    page = f"/console/exchanges/{newest}"
    visitor.act(f"{page}/judge", seen=page, verdict="teacher")
    assert "lead" in visitor.get(page).text


def test_a_form_of_another_site_changes_nothing(console, registry):
    visitor = console()
    token = visitor.get("/console").token
    for headers in (
        {"origin": "http://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"cookie": "openwheel_console=planted"},
    ):
        refused = visitor.ask("POST", "/console/stop", {"token": token}, **headers)
        assert refused.status == 403, headers
    assert visitor.ask("POST", "/console/stop", {}).status == 403
    assert visitor.ask("GET", "/console/stop").status in {404, 405}
    assert not registry.stopped()


def test_a_person_tries_a_receiver_of_alerts(console):
    with Teacher(respond(b"ok")) as receiver:
        alerts = (AlertSection(url=f"{receiver.url}/secret-path", format="slack"),)
        visitor = console(receivers=alerts)
        page = visitor.get("/console/alerts")
        assert "secret-path" not in page.text
        tried = visitor.act("/console/alerts/0/test", seen="/console/alerts")
        assert "took the test" in tried.text
        assert "test that this machine sent" in json.loads(receiver.received[0].body)["text"]
        receiver.down()
        tried = visitor.act("/console/alerts/0/test", seen="/console/alerts")
        assert "The test was not taken" in tried.text
        assert visitor.act("/console/alerts/1/test", seen="/console/alerts").status == 404
    assert "Nobody receives alerts" in console().get("/console/alerts").text


def test_a_console_on_a_store_alone_only_reads(console, registry):
    visitor = console(acts=False)
    page = visitor.get("/console")
    assert "knows of no gateway" in page.text
    assert "/console/stop" not in page.text
    assert not registry.stopped()


@pytest.mark.parametrize(
    "body",
    [b"a" * 300_000, b"\xff\xfe", b"&&&=", b"=".join([b"a"] * 200), b"&".join([b"a=1"] * 60)],
)
def test_bodies_that_are_no_forms(console, body):
    visitor = console()
    visitor.get("/console")
    with socket.create_connection(tuple(visitor.host.split(":")), timeout=10) as sock:
        head = (
            f"POST /console/stop HTTP/1.1\r\nhost: {visitor.host}\r\ncookie: {visitor.cookie}\r\n"
        )
        sock.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert sock.recv(12) in {b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 413"}


def test_open_pages_are_told_what_changes(console, traffic, registry):
    visitor = console()
    visitor.get("/console")
    told: list[str] = []

    def listen() -> None:
        host, port = visitor.host.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as sock:
            sock.sendall(
                f"GET /console/events HTTP/1.1\r\nhost: {visitor.host}\r\n"
                f"cookie: {visitor.cookie}\r\n\r\n".encode()
            )
            seen = b""
            while seen.count(b"event: board") < 2 and (more := sock.recv(65536)):
                seen += more
            told.append(seen.decode())

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(1.0)
    visitor.act("/console/stop")
    thread.join(20)
    assert "text/event-stream" in told[0]
    assert '"stopped":false' in told[0]
    assert '"stopped":true' in told[0]


def test_files_have_their_types_and_last(console):
    visitor = console()
    page = visitor.get("/console").text
    for name, kind in (("console.css", "text/css"), ("console.js", "text/javascript")):
        path = page.partition(f"/console/static/{name}")[2].partition('"')[0]
        file = visitor.get(f"/console/static/{name}{path}")
        assert file.status == 200
        assert file.headers["content-type"].startswith(kind)
        assert "immutable" in file.headers["cache-control"]
    assert visitor.get("/console/static/app.py").status == 404
    assert visitor.get("/console/static/..%2fapp.py").status == 404
