"""Alerts: found, written, signed, posted once, and tried again."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator

import msgspec
import pytest

from openwheel.access import KeyStore, Ledger
from openwheel.alerts import Alerts, send_test
from openwheel.alerts.message import title, write_body
from openwheel.alerts.news import Alert, read_news
from openwheel.alerts.post import AlertError, host_of, post
from openwheel.alerts.watch import FIRST_WAIT_S, MOST_TRIES
from openwheel.loop.registry import Registry
from openwheel.settings import AlertSection
from openwheel.store import Store, alerts
from teacher import Teacher, respond

ALARM = Alert("alarm", "1", 1_700_000_000.0, "sort-tickets", "It disagreed <!channel> *often*.")


@pytest.fixture
def store(both) -> Store:
    return both


@pytest.fixture
def receiver() -> Iterator[Teacher]:
    with Teacher(respond(b"ok")) as opened:
        yield opened


def to(receiver: Teacher, **fields) -> AlertSection:
    return AlertSection(url=f"{receiver.url}/hook?secret=abc", **fields)


def later(store: Store, seconds: float) -> None:
    """Have the last tries lie further back."""
    with store.write() as transaction:
        transaction.exec_driver_sql(f"UPDATE alert_deliveries SET time = time - {seconds}")


def bodies(receiver: Teacher) -> list[dict]:
    return [json.loads(asked.body) for asked in receiver.received]


def test_only_what_happens_from_now_on_is_told_and_once(store, receiver):
    registry = Registry(store)
    registry.set_stopped(True, by="Ann")
    watch = Alerts(store, [to(receiver)])
    watch.look()
    assert receiver.received == []
    registry.set_stopped(False, by="Ann")
    for _ in range(3):
        watch.look()
    Alerts(store, [to(receiver)]).look()  # another process
    (said,) = bodies(receiver)
    assert said["type"] == "openwheel.resumed"
    assert said["data"]["text"] == "All students were let answer again by Ann."
    with store.read() as transaction:
        (sent,) = alerts.latest(transaction, limit=9)
    assert (sent.state, sent.tries, sent.error) == ("sent", 1, "")


def test_each_receiver_is_told_what_it_wants(store, receiver):
    with Teacher(respond(b"ok")) as other:
        watch = Alerts(store, [to(receiver, kinds=("stopped",)), to(other, kinds=("resumed",))])
        watch.look()
        Registry(store).set_stopped(True, by="Ann")
        time.sleep(0.01)
        Registry(store).set_stopped(False, by="Ann")
        watch.look()
        assert [said["type"] for said in bodies(receiver)] == ["openwheel.stopped"]
        assert [said["type"] for said in bodies(other)] == ["openwheel.resumed"]


def test_what_was_not_taken_is_tried_again_for_a_while(store, receiver, caplog):
    watch = Alerts(store, [to(receiver)])
    watch.look()
    receiver.answer = respond(b"", status="503 Busy")
    Registry(store).set_stopped(True, by="Ann")
    watch.look()
    watch.look()  # not at once
    assert len(receiver.received) == 1
    later(store, FIRST_WAIT_S)
    watch.look()
    assert len(receiver.received) == 2
    later(store, FIRST_WAIT_S)
    watch.look()  # the second wait is longer
    assert len(receiver.received) == 2
    receiver.answer = respond(b"ok")
    later(store, FIRST_WAIT_S)
    watch.look()
    assert len(receiver.received) == 3
    assert len({asked.headers["webhook-id"] for asked in receiver.received}) == 1
    Registry(store).set_stopped(False, by="Ann")
    receiver.down()
    for tries in range(MOST_TRIES):
        later(store, FIRST_WAIT_S * 2**tries)
        watch.look()
    with store.read() as transaction:
        failed = alerts.latest(transaction, limit=1)[0]
    assert (failed.state, failed.tries) == ("failed", MOST_TRIES)
    assert "could not be reached" in failed.error
    assert "secret" not in failed.error + caplog.text
    receiver.up()
    later(store, 1e6)
    watch.look()
    assert len(receiver.received) == 3


def test_a_body_is_signed(receiver, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(b"key").decode())
    post(ALARM, to(receiver, secret_env="HOOK_SECRET"))
    (asked,) = receiver.received
    stamp = asked.headers["webhook-timestamp"]
    signed = b".".join((asked.headers["webhook-id"].encode(), stamp.encode(), asked.body))
    expected = base64.b64encode(hmac.new(b"key", signed, hashlib.sha256).digest()).decode()
    assert asked.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(time.time() - int(stamp)) < 60
    monkeypatch.setenv("HOOK_SECRET", "whsec_not base64!")
    with pytest.raises(AlertError, match="no base64"):
        post(ALARM, to(receiver, secret_env="HOOK_SECRET"))
    with pytest.raises(AlertError, match="NO_SECRET is not set"):
        post(ALARM, to(receiver, secret_env="NO_SECRET"))
    assert len(receiver.received) == 1


def test_no_redirect_is_followed(receiver):
    with Teacher(respond(b"ok")) as elsewhere:
        receiver.answer = respond(b"", f"location: {elsewhere.url}/", status="307 Elsewhere")
        with pytest.raises(AlertError, match="answered 307"):
            post(ALARM, to(receiver))
        assert elsewhere.received == []


def test_shapes():
    said = json.loads(write_body(ALARM, "json", "https://ow.example/"))
    assert said["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert said["data"]["link"] == "https://ow.example/console"
    assert said["data"]["task"] == "sort-tickets"
    slack = json.loads(write_body(ALARM, "slack", "https://ow.example"))["text"]
    assert "<!channel>" not in slack
    assert "&lt;!channel&gt;" in slack
    assert "<https://ow.example/console|Console>" in slack
    teams = json.loads(write_body(ALARM, "teams", ""))["attachments"][0]["content"]
    assert teams["body"][1]["inlines"][0]["text"] == ALARM.text
    assert "actions" not in teams
    assert title(ALARM) == "A student was taken off: sort-tickets"


def test_a_budget_near_its_end_and_a_store_in_trouble_are_told(store):
    keys = KeyStore(store)
    key, _ = keys.create("desk", budget=10.0, budget_period="day")
    ledger = Ledger(store)
    ledger.spend(key, 1_000, 8_900_000)
    ledger.flush()
    assert read_news(store, lambda: "") == []
    ledger.spend(key, 1_000, 200_000)
    ledger.flush()
    (budget,) = read_news(store, lambda: "")
    assert (budget.kind, "$9.10 of its $10.00 for this day" in budget.text) == ("budget", True)
    assert read_news(store, lambda: "")[0].ident == budget.ident
    kinds = {alert.kind: alert for alert in read_news(store, lambda: "3 were not stored.")}
    assert kinds["store"].text == "3 were not stored."
    keys.revoke("desk")
    assert read_news(store, lambda: "") == []


def test_a_test_says_what_went_wrong(receiver):
    assert send_test(to(receiver), "Ann") == ""
    assert "test that Ann sent" in bodies(receiver)[0]["data"]["text"]
    receiver.down()
    assert "could not be reached" in send_test(to(receiver), "Ann")
    user = AlertSection(url="https://user:password@hooks.example/x")
    assert host_of(user) == "hooks.example"


def test_settings_say_what_a_receiver_must_be():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "ftp://x"}, AlertSection)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "https://x", "kinds": ["nothing"]}, AlertSection)
