import hashlib
import math
import sqlite3
import threading

import pytest
from hypothesis import strategies as st

from fuzz import fuzz
from openwheel.access import KeyStore
from openwheel.errors import SettingError, StoreError
from openwheel.store import Store


@pytest.fixture
def store(both):
    return both


@pytest.fixture
def keys(store, wall):
    return KeyStore(store, clock=wall)


def test_a_key_comes_back_as_it_was_made(keys, wall):
    key, secret = keys.create(
        "Größe: desk",
        tasks=["ticket-*", "triage"],
        models=["qwen*"],
        requests_per_minute=60,
        tokens_per_minute=10_000,
        budget=2.5,
        budget_period="day",
        expires=wall() + 10,
    )
    plain, _ = keys.create("plain")
    assert keys.list() == (key, plain)
    assert (key.tasks, key.models) == (("ticket-*", "triage"), ("qwen*",))
    assert (key.requests_per_minute, key.tokens_per_minute) == (60, 10_000)
    assert (key.budget, key.budget_period) == (2.5, "day")
    assert (key.created, key.expires, key.revoked) == (wall(), wall() + 10, None)
    assert key.hint == secret[-4:]
    assert (plain.tasks, plain.budget, plain.expires) == ((), None, None)


def test_secrets_differ_and_have_the_form_that_is_documented(keys):
    secrets = [keys.create(f"k{i}")[1] for i in range(50)]
    assert len(set(secrets)) == 50
    for secret in secrets:
        assert secret.startswith("ow-")
        assert len(secret) == 46
        assert secret[3:].replace("-", "a").replace("_", "a").isalnum()


@pytest.mark.usefixtures("in_a_file")
def test_the_files_hold_hashes_and_no_secret(tmp_path):
    with Store.open(tmp_path / "openwheel.db") as file:
        check_that_no_secret_is_in(tmp_path, KeyStore(file))


def check_that_no_secret_is_in(tmp_path, keys):
    made = [keys.create(f"k{i}")[1] for i in range(20)]
    found = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert (tmp_path / "openwheel.db-wal").stat().st_size
    for secret in made:
        assert hashlib.sha256(secret.encode()).digest() in found
        assert secret.encode() not in found
        assert secret[3:20].encode() not in found
        assert secret[20:].encode() not in found


def test_a_name_is_free_again_once_its_key_is_revoked_or_expired(keys, wall):
    first, _ = keys.create("desk")
    with pytest.raises(SettingError, match="live key 'desk'"):
        keys.create("desk")
    keys.revoke("desk")
    second, _ = keys.create("desk", expires=wall() + 5)
    with pytest.raises(SettingError, match="live key 'desk'"):
        keys.create("desk")
    wall.now += 5
    third, _ = keys.create("desk")
    assert [key.id for key in keys.list()] == [first.id, second.id, third.id]
    assert [key.state(wall()) for key in keys.list()] == ["revoked", "revoked", "live"]
    assert keys.list()[1].revoked == second.expires


def test_one_of_many_threads_gets_the_name(store):
    keys = KeyStore(store)
    outcomes = []

    def create():
        try:
            outcomes.append(keys.create("desk")[0].name)
        except SettingError:
            outcomes.append("taken")

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["desk"] + ["taken"] * 7
    assert len(keys.list()) == 1


def test_revoking_by_name_and_id(keys, wall):
    desk, _ = keys.create("desk")
    digits, _ = keys.create("1")
    other, _ = keys.create("other")
    assert keys.revoke("1").id == digits.id  # a name comes before an id
    assert keys.revoke("1").id == desk.id
    assert keys.revoke(other.id).revoked == wall()
    for gone in ("desk", "1", 1, other.id, "nobody", "", "9" * 30, "²", -1, 2**70, "\ud800"):
        with pytest.raises(SettingError, match="no key"):
            keys.revoke(gone)


def test_a_revoked_key_names_those_that_are_left(keys):
    keys.create("b")
    keys.create("a")
    with pytest.raises(SettingError, match=r"the keys are: a, b$"):
        keys.revoke("c")


def test_the_version_changes_with_every_change_and_only_then(keys, wall):
    seen = [keys.version()]
    keys.create("a", expires=wall() + 1)
    seen.append(keys.version())
    keys.create("b")
    seen.append(keys.version())
    keys.revoke("b")
    seen.append(keys.version())
    wall.now += 1
    keys.create("a")
    seen.append(keys.version())
    assert len(set(seen)) == 5
    keys.list()
    assert keys.version() == seen[-1]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": " x"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"tasks": [""]}, "tasks"),
        ({"models": ["a\0b"]}, "models"),
        ({"models": ["m" * 201]}, "models"),
        ({"models": [str(i) for i in range(101)]}, "models"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"requests_per_minute": 10**9}, "requests_per_minute"),
        ({"tokens_per_minute": -1}, "tokens_per_minute"),
        ({"budget": 0.0}, "budget"),
        ({"budget": math.nan}, "budget"),
        ({"budget": math.inf}, "budget"),
        ({"budget_period": "week"}, "budget_period"),
        ({"expires": 1.0}, "expires"),
        ({"expires": math.nan}, "expires"),
        ({"expires": math.inf}, "expires"),
    ],
)
def test_a_setting_that_cannot_be_makes_no_key(keys, setting, said):
    with pytest.raises(SettingError, match=said):
        keys.create(**{"name": "x", **setting})
    assert keys.list() == ()


@fuzz(st.text(max_size=70), st.lists(st.text(max_size=10), max_size=3), short=10, long=100)
def test_any_name_and_scope_is_kept_or_refused(tmp_path_factory, name, patterns):
    with Store.open(tmp_path_factory.mktemp("keys") / "x.db") as store:
        keys = KeyStore(store)
        try:
            key, _ = keys.create(name, models=patterns)
        except SettingError:
            assert keys.list() == ()
        else:
            assert keys.list() == (key,)
            assert (key.name, list(key.models)) == (name, list(dict.fromkeys(patterns)))
            assert keys.revoke(name).id == key.id


def test_scopes(keys):
    key, _ = keys.create("a", models=["qwen*", "gpt-4o"], tasks=["*"])
    assert key.allows_model("qwen3-8b")
    assert key.allows_model("gpt-4o")
    for model in ("gpt-4o-mini", "my-qwen", "Qwen3", ""):
        assert not key.allows_model(model)
    assert key.allows_task("anything")
    assert not key.allows_task("")  # "*" is any task, and no task is none
    free, _ = keys.create("b")
    assert free.allows_model("")
    assert free.allows_task("")


def test_a_store_that_cannot_be_used_is_a_store_error(tmp_path):
    with Store.open(tmp_path / "x.db", busy_seconds=0.05) as store:
        keys = KeyStore(store)
        keys.create("a")
        blocker = sqlite3.connect(store.path)
        blocker.execute("BEGIN IMMEDIATE")
        for change in (lambda: keys.create("b"), lambda: keys.revoke("a")):
            with pytest.raises(StoreError, match="locked"):
                change()
        blocker.close()
        assert [key.name for key in keys.list()] == ["a"]


def test_a_row_that_was_spoilt_by_hand_is_named(keys, store):
    keys.create("desk")
    with store.write() as connection:
        connection.exec_driver_sql('UPDATE api_keys SET limits = \'{"budget": "much"}\'')
    with pytest.raises(StoreError, match="'desk'"):
        keys.list()
