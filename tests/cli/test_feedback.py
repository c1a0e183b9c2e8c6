"""``openwheel feedback`` and the trust of keys, as a user runs them."""

import json

import msgspec

from cli.runner import run
from made_up import tickets, write_log
from openwheel.access import Access, KeyStore
from openwheel.importing import LogProblems, read_log
from openwheel.loop.feedback.desk import FeedbackDesk, read_feedback
from openwheel.loop.registry import Registry
from openwheel.loop.turn.curate import curate
from openwheel.store import Store


def said(folder, *arguments, code=0):
    done = run(*arguments, cwd=folder, code=code)
    return done.stdout + done.stderr


def test_feedback_is_listed_with_what_became_of_it(tmp_path):
    log = write_log(tmp_path / "log.jsonl", tickets(300))
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
        curate(store, Registry(store))
        (first,) = (e for _, e in store.exchanges(until=1))
        wrong = next(q for q in ("billing", "account") if q != first.answer.text)
        body = {"id": first.id, "correction": wrong, "score": 0.5, "comment": "no"}
        FeedbackDesk(store).take(read_feedback(msgspec.json.encode(body)), None)
    found = json.loads(said(tmp_path, "feedback", "--json"))
    (given,) = found["feedback"]
    assert (given["seq"], given["correction"], given["score"]) == (1, wrong, 0.5)
    (task,) = found["tasks"]
    assert task["corrections"]["believed"] == 1
    assert (task["teacher"]["n"], task["teacher"]["right"]) == (1, 0)
    shown = said(tmp_path, "feedback", task["task"])
    assert "0 of 1: 0.0% [0.0%, 97.5%]" in shown
    assert "not a random sample" in shown


def test_the_trust_of_a_key_reaches_a_gateway_that_runs(tmp_path):
    secret = json.loads(said(tmp_path, "keys", "create", "app", "--json"))["secret"]
    with Store.open(tmp_path / "openwheel.db") as store:
        access = Access(store, tmp_path / "limits")
        assert access.identify(secret).trust == "low"
        assert "high trust" in said(tmp_path, "keys", "trust", "app", "high")
        access.refresh()
        assert access.identify(secret).trust == "high"
        KeyStore(store).set_trust("app", "normal")
        access.refresh()
        assert access.identify(secret).trust == "normal"
        access.close()
    assert "must be low, normal or high" in said(tmp_path, "keys", "trust", "app", "x", code=2)
