"""Feedback on a gateway of several real workers."""

import contextlib
import http.client
import json

from openwheel.store import Store
from openwheel.store.feedback import FeedbackStore


def test_any_worker_takes_feedback_on_the_answers_of_all(up, teacher, wait_for):
    gateway = up("--teacher", teacher().url, "--workers", "2", "--no-turns")
    gateway.ask("where is my parcel")
    with Store.open(gateway.folder / "openwheel.db") as store:
        wait_for(store.count)
        identity = next(e.id for _, e in store.exchanges())
        # A connection each, so that the kernel gives them to more than one worker.
        for number in range(12):
            client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
            with contextlib.closing(client):
                body = json.dumps({"id": identity, "score": number / 12})
                client.request("POST", "/v1/feedback", body)
                answer = client.getresponse()
                assert (answer.status, json.loads(answer.read())["status"]) == (200, "accepted")
        (said,) = FeedbackStore(store).latest()
        assert said.score == 11 / 12
        wait_for(lambda: "openwheel_feedback_total 12" in gateway.get("/metrics"))
    assert gateway.stop() == 0
