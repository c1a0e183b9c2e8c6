"""The commands for keys, on a real store."""

import datetime
import json

import pytest

from cli.runner import run as openwheel
from openwheel.access import Access, KeyStore, Ledger, RefusedError
from openwheel.store import Store


@pytest.fixture
def keys(tmp_path):
    def run(*arguments, code=0):
        done = openwheel("keys", *arguments, cwd=tmp_path, code=code)
        run.said = done.stderr
        return done.stdout

    run.json = lambda *arguments: json.loads(run(*arguments, "--json"))
    return run


def test_a_key_made_here_is_one_the_gateway_knows(keys, tmp_path):
    secret = keys("create", "desk", "--model", "qwen*").strip()
    assert "cannot be shown again" in keys.said
    assert secret not in keys.said
    with Store.open(tmp_path / "openwheel.db") as store:
        access = Access(store, tmp_path / "limits")
        key = access.identify(secret)
        assert (key.name, key.models) == ("desk", ("qwen*",))
        assert "is revoked" in keys("revoke", "desk")
        access.refresh()
        with pytest.raises(RefusedError, match="revoked"):
            access.identify(secret)
        access.close()


def test_every_option_arrives(keys):
    made = keys.json(
        "create", "desk", "--task", "a", "--task", "b*", "--model", "m", "--budget", "2.5",
        "--requests-per-minute", "60", "--tokens-per-minute", "9000", "--budget-period", "day",
        "--expires", "2999-01-31",
    )  # fmt: skip
    secret = made.pop("secret")
    assert made["hint"] == secret[-4:]
    assert (made["name"], made["state"], made["id"]) == ("desk", "live", 1)
    assert (made["tasks"], made["models"]) == (["a", "b*"], ["m"])
    assert (made["requests_per_minute"], made["tokens_per_minute"]) == (60, 9_000)
    assert (made["budget"], made["budget_period"]) == (2.5, "day")
    assert made["expires"] == "2999-02-01T00:00:00+00:00"
    assert keys.json("list") == {"keys": [made]}
    assert keys.json("revoke", "desk")["state"] == "revoked"
    assert keys.json("list")["keys"][0]["revoked"]


def test_a_right_to_the_console_is_given_and_taken(keys):
    assert keys.json("create", "desk")["console"] == "none"
    assert keys.json("create", "lead", "--console", "operate")["console"] == "operate"
    assert "'read' to the console" in keys("console", "desk", "read")
    assert [key["console"] for key in keys.json("list")["keys"]] == ["read", "operate"]
    assert keys.json("console", "lead", "none")["console"] == "none"
    keys("console", "lead", "write", code=2)
    assert "must be none, read or operate" in keys.said
    keys("console", "nobody", "read", code=2)


def test_days_to_live(keys):
    made = keys.json("create", "desk", "--expires", "30d")
    created, expires = (datetime.datetime.fromisoformat(made[k]) for k in ("created", "expires"))
    assert datetime.timedelta(days=29, hours=23) < expires - created
    assert expires - created < datetime.timedelta(days=30, hours=1)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    assert keys.json("create", "today", "--expires", today)["state"] == "live"


def test_the_list_shows_who_may_do_what_and_what_they_spent(keys, tmp_path):
    keys("create", "desk", "--budget", "5", "--task", "ticket-*", "--requests-per-minute", "1200")
    keys("create", "[red]other[/red]")
    with Store.open(tmp_path / "openwheel.db") as store:
        ledger = Ledger(store)
        ledger.spend(KeyStore(store).list()[0], 1_000, 1_250_000)
        ledger.flush()
    listed = keys("list")
    for word in ("desk", "$1.25 of $5.00 this month", "ticket-*", "1,200", "[red]other[/red]"):
        assert word in listed
    first, second = keys.json("list")["keys"]
    assert (first["spent"], first["tokens"]) == (1.25, 1_000)
    assert (second["spent"], second["tokens"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "desk"), "live key 'desk'"),
        (("create", ""), "name"),
        (("create", "x", "--budget", "nan"), "budget must be"),
        (("create", "x", "--budget-period", "week"), "--budget-period must be day or month"),
        (("create", "x", "--expires", "soon"), "--expires must be a day"),
        (("create", "x", "--expires", "0d"), "--expires must be a day"),
        (("create", "x", "--expires", "2020-01-31"), "today or later"),
        (("create", "x", "--expires", "9999-12-31"), "before the year 10000"),
        (("create", "x", "--requests-per-minute", "0"), "requests_per_minute must be"),
        (("create", "x", "--model", ""), "models must be"),
        (("revoke", "nobody"), "the keys are: desk"),
        (("list", "--db", "missing.db"), "missing.db"),
        (("revoke", "desk", "--db", "missing.db"), "missing.db"),
    ],
)
def test_bad_input_is_a_line_and_exit_code_2(keys, arguments, said):
    keys("create", "desk")
    keys(*arguments, code=2)
    assert said in keys.said
    assert len(keys.said.splitlines()) == 1
    assert [key["name"] for key in keys.json("list")["keys"]] == ["desk"]
