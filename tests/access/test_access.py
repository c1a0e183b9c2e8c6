"""What a gateway worker asks, with real stores and limits files."""

import sqlite3

import pytest
from hypothesis import strategies as st

from fuzz import fuzz
from openwheel.access import Access, KeyStore, RefusedError
from openwheel.errors import RequestError, StoreError
from openwheel.store import Store

WORKER = """
import sys
from openwheel.access import Access, RefusedError
from openwheel.store import Store

with Store.open(sys.argv[1]) as store:
    access = Access(store, sys.argv[2])
    print("ready", flush=True)
    for line in sys.stdin:
        access.refresh()
        try:
            key = access.identify(line.strip())
            access.admit(key)
            access.charge(key, 10, 600_000)
            access.refresh()
            print("ok", flush=True)
        except RefusedError as error:
            print(error.code, error.type, flush=True)
"""


@pytest.fixture
def keys(store, wall):
    return KeyStore(store, clock=wall)


@pytest.fixture
def access(store, tmp_path, wall, ticks):
    access = Access(store, tmp_path / "limits", clock=wall, ticks=ticks)
    yield access
    access.close()


def make(access, keys, name="desk", **settings):
    """Return a new key's secret and the key as the worker knows it."""
    _, secret = keys.create(name, **settings)
    access.refresh()
    return secret, access.identify(secret)


def refusal(what, *arguments, **named):
    with pytest.raises(RefusedError) as caught:
        what(*arguments, **named)
    error = caught.value
    assert str(error) == error.message
    assert isinstance(error, RequestError)
    return error


def test_without_keys_anyone_may_pass(access):
    assert not access.in_force
    assert access.identify(None) is None
    assert access.identify("sk-something-of-the-teacher") is None


def test_from_the_first_key_on_one_is_needed(access, keys):
    secret, key = make(access, keys)
    assert access.in_force
    assert key.name == "desk"
    assert access.identify(secret) == key
    access.admit(key)
    access.check_task(key, "")


def test_revoking_the_last_key_opens_the_gateway_to_nobody(access, keys):
    secret, _ = make(access, keys)
    keys.revoke("desk")
    access.refresh()
    assert access.in_force
    for credential in (secret, None, "other"):
        assert refusal(access.identify, credential).status == 401


def test_keys_can_be_required_before_there_are_any_and_ignored_when_there_are(
    store, keys, tmp_path
):
    required = Access(store, tmp_path / "a", required=True)
    assert refusal(required.identify, None).code == "invalid_api_key"
    _, secret = keys.create("desk")
    ignored = Access(store, tmp_path / "b", required=False)
    assert not ignored.in_force
    assert ignored.identify(secret) is None
    required.close()
    ignored.close()


def test_why_a_credential_is_refused(access, keys, wall):
    secret, _ = make(access, keys, expires=wall() + 10)
    gone, _ = make(access, keys, "gone")
    keys.revoke("gone")
    access.refresh()
    changed = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    assert access.identify(secret) is not None
    wall.now += 10
    said = {}
    for credential in (None, "", changed, secret, gone, secret + "x", f" {secret}"):
        error = refusal(access.identify, credential)
        assert (error.status, error.code) == (401, "invalid_api_key")
        assert error.type == "invalid_request_error"
        assert error.retry_after is None
        assert not credential or credential.strip() not in error.message
        said[credential] = error.message
    assert "No API key" in said[None] == said[""]
    assert "expired" in said[secret]
    assert "revoked" in said[gone]
    assert "not one of this gateway's" in said[changed]


@fuzz(
    st.one_of(st.none(), st.text(), st.text(min_size=46, max_size=46), st.binary()),
    short=60,
    long=2_000,
)
def test_no_credential_raises_anything_but_a_refusal(tmp_path_factory, credential):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    if isinstance(credential, bytes):
        credential = "ow-" + credential.decode("utf-8", "surrogateescape")
    with Store.open(folder / "x.db") as store:
        access = Access(store, folder / "limits", required=True)
        refusal(access.identify, credential)
        access.close()


def test_a_credential_of_the_right_length_that_is_no_text(access, keys):
    make(access, keys)
    assert refusal(access.identify, "ow-" + "\ud800" * 43).code == "invalid_api_key"


def test_models_out_of_scope(access, keys):
    _, key = make(access, keys, models=["qwen*", "gpt-4o"])
    access.check_model(key, "qwen3-8b")
    for model in ("gpt-4o-mini", "", "x" * 10_000, "\ud800"):
        error = refusal(access.check_model, key, model)
        assert (error.status, error.code) == (403, "model_not_allowed")
        assert error.type == "permission_error"
        assert error.retry_after is None
        assert len(error.message) < 300
    assert "'gpt-4o-mini'" in refusal(access.check_model, key, "gpt-4o-mini").message


def test_tasks_out_of_scope(access, keys):
    _, key = make(access, keys, tasks=["ticket-*"])
    access.check_task(key, "ticket-routing")
    for task, said in (("billing", "'billing'"), ("", "no known task")):
        error = refusal(access.check_task, key, task)
        assert (error.status, error.code, error.type) == (
            403,
            "task_not_allowed",
            "permission_error",
        )
        assert said in error.message


def test_the_request_limit_and_what_headers_need(access, keys, ticks):
    _, key = make(access, keys, requests_per_minute=3)
    left = [access.admit(key).requests.remaining for _ in range(3)]
    assert left == [2, 1, 0]
    error = refusal(access.admit, key)
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
    assert error.retry_after == pytest.approx(20)
    requests = error.allowances.requests
    assert (requests.limit, requests.remaining, requests.reset) == (3, 0, 60.0)
    assert error.allowances.tokens is None
    ticks.now += round(error.retry_after * 1e9)
    access.admit(key)


def test_the_token_limit(access, keys, ticks):
    _, key = make(access, keys, tokens_per_minute=1_000, requests_per_minute=50)
    access.admit(key)
    access.charge(key, 1_500, 0)
    error = refusal(access.admit, key)
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "tokens")
    assert error.retry_after == pytest.approx(30)
    assert error.allowances.tokens.remaining == 0
    assert error.allowances.requests.remaining == 49
    ticks.now += round(error.retry_after * 1e9) + 1
    assert access.admit(key).requests.remaining == 49


def test_of_two_limits_the_longer_wait_is_told(access, keys):
    _, key = make(access, keys, tokens_per_minute=60, requests_per_minute=60)
    for _ in range(60):
        access.admit(key)
    assert refusal(access.admit, key).retry_after == pytest.approx(1)
    access.charge(key, 90, 0)
    error = refusal(access.admit, key)
    assert (error.type, error.retry_after) == ("tokens", pytest.approx(30))
    assert error.allowances.requests.retry_after == pytest.approx(1)


def test_a_request_that_is_out_of_budget_uses_no_allowance(access, keys, wall):
    _, key = make(access, keys, requests_per_minute=5, budget=1, budget_period="day")
    access.charge(key, 1, 1_000_000)
    for _ in range(10):
        assert refusal(access.admit, key).code == "insufficient_quota"
    wall.now += 86_400
    assert access.admit(key).requests.remaining == 4


def test_the_budget(access, keys, wall):
    secret, key = make(access, keys, budget=0.5, budget_period="day")
    access.admit(key)
    access.charge(key, 100, 499_999)
    access.admit(key)
    access.charge(key, 100, 1)
    error = refusal(access.admit, key)
    assert (error.status, error.code, error.type) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert error.retry_after is None
    assert "$0.50 a day" in error.message
    assert "2027-01-16 (UTC)" in error.message
    wall.now += 12 * 3_600
    access.admit(access.identify(secret))


def test_spending_outlives_a_worker(store, keys, tmp_path, wall):
    _, secret = keys.create("desk", budget=1)
    first = Access(store, tmp_path / "limits", clock=wall)
    first.charge(first.identify(secret), 10, 2_000_000)
    first.close()
    second = Access(store, tmp_path / "limits", clock=wall)
    assert refusal(second.admit, second.identify(secret)).code == "insufficient_quota"
    second.close()


def test_workers_see_revocation_limits_and_budgets_of_one_another(start, both, place, tmp_path):
    keys = KeyStore(both)
    _, secret = keys.create("desk")
    _, limited = keys.create("limited", requests_per_minute=2)
    _, poor = keys.create("poor", budget=1)
    workers = [start(WORKER, place, tmp_path / "limits") for _ in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"

    def ask(worker, credential):
        worker.stdin.write(credential + "\n")
        worker.stdin.flush()
        return worker.stdout.readline().strip()

    first, second = workers
    assert ask(first, secret) == ask(second, secret) == "ok"
    assert ask(first, limited) == ask(second, limited) == "ok"
    assert ask(first, limited) == ask(second, limited) == "rate_limit_exceeded requests"
    assert ask(first, poor) == ask(second, poor) == "ok"
    assert ask(first, poor) == ask(second, poor) == "insufficient_quota insufficient_quota"
    keys.revoke("desk")
    assert ask(first, secret) == ask(second, secret) == "invalid_api_key invalid_request_error"
    _, later = keys.create("later")
    assert ask(first, later) == ask(second, later) == "ok"


@pytest.mark.usefixtures("in_a_file")
def test_when_the_store_cannot_be_read_the_last_known_keys_hold(tmp_path, wall):
    path = tmp_path / "x.db"
    with Store.open(path, busy_seconds=0.05) as store:
        keys = KeyStore(store)
        _, secret = keys.create("desk", budget=1)
        access = Access(store, tmp_path / "limits", clock=wall)
        key = access.identify(secret)
        access.charge(key, 1, 400_000)
        with store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO hidden")
        with pytest.raises(StoreError, match="api_keys"):
            access.refresh()
        assert access.identify(secret) == key
        assert refusal(access.identify, "x").code == "invalid_api_key"
        # What was spent is written all the same.
        with store.read() as connection:
            stored = connection.exec_driver_sql("SELECT micro_dollars FROM key_spending")
            assert stored.scalar_one() == 400_000
        access.charge(key, 1, 400_000)
        with store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE hidden RENAME TO api_keys")
        keys.create("other")
        blocker = sqlite3.connect(path)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            access.refresh()
        blocker.close()
        access.charge(key, 1, 200_000)
        assert refusal(access.admit, key).code == "insufficient_quota"
        access.refresh()
        assert refusal(access.admit, key).code == "insufficient_quota"
        access.close()


def test_a_limits_file_that_cannot_be_used_is_a_store_error(store, tmp_path):
    with pytest.raises(StoreError, match="limits file"):
        Access(store, tmp_path / "no" / "folder")
