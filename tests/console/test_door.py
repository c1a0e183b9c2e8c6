"""Who may see the console, and who may act."""

import msgspec
import pytest

from openwheel.access import KeyStore
from openwheel.console.door import (
    COOKIE,
    IDLE_S,
    LASTS_S,
    MOST_SESSIONS,
    Asked,
    Door,
    LoginNeededError,
    RefusedError,
)
from openwheel.store import Store

HERE = Asked(client="127.0.0.1", host="localhost:8000")


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(tmp_path, clock):
    with Store.open(tmp_path / "keys.db") as store:
        yield KeyStore(store, clock=clock)


@pytest.fixture
def door(keys, clock):
    return Door(keys, lambda: True, clock=clock)


@pytest.fixture
def open_door(keys, clock):
    return Door(keys, lambda: False, clock=clock)


def with_cookie(secret, asked=HERE):
    return msgspec.structs.replace(asked, cookie=f"other=1; {COOKIE}={secret}")


def test_people_at_this_machine_act_where_no_key_is_needed(open_door):
    assert open_door.enter(HERE).acts
    for client in ("::1", "127.0.0.9", "::ffff:127.0.0.1"):
        assert open_door.enter(msgspec.structs.replace(HERE, client=client)).acts


@pytest.mark.parametrize(
    "change",
    [
        {"client": "10.0.0.5"},
        {"client": ""},
        {"client": "::ffff:10.0.0.5"},
        {"forwarded": True},
        {"host": "evil.example"},  # a name that leads to 127.0.0.1
        {"host": "127.0.0.1.evil.example:8000"},
        {"host": ""},
    ],
)
def test_nobody_else_enters_without_a_key(open_door, change):
    with pytest.raises(RefusedError, match="keys"):
        open_door.enter(msgspec.structs.replace(HERE, **change))


def test_a_key_needs_a_right_to_the_console(door, keys):
    _, plain = keys.create("app")
    with pytest.raises(RefusedError, match="no right"):
        door.login(plain, HERE)
    for wrong in ("", "ow-" + "x" * 43, plain[:-1]):
        with pytest.raises(RefusedError, match="no live key"):
            door.login(wrong, HERE)
    with pytest.raises(LoginNeededError):
        door.enter(HERE)


def test_a_reader_reads_and_an_operator_acts(door, keys):
    for right in ("read", "operate"):
        key, secret = keys.create(right, console=right)
        visitor = door.enter(with_cookie(door.login(secret, HERE)))
        assert (visitor.name, visitor.key, visitor.acts) == (right, key.id, right == "operate")
        if right == "read":
            with pytest.raises(RefusedError, match="not act"):
                door.require_act(visitor, HERE, visitor.token)
        else:
            door.require_act(visitor, HERE, visitor.token)


def test_a_session_ends_with_its_key(door, keys, clock, monkeypatch):
    monkeypatch.setattr("openwheel.console.door._KEYS_LAST_S", -1.0)
    _, secret = keys.create("lead", console="read", expires=clock.now + 60)
    _, other = keys.create("other", console="operate")
    mine, theirs = door.login(secret, HERE), door.login(other, HERE)
    clock.now += 61
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie(mine))
    keys.set_console("other", "read")
    assert not door.enter(with_cookie(theirs)).acts
    keys.revoke("other")
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie(theirs))


def test_a_session_ends_after_a_while(door, keys, clock):
    _, secret = keys.create("lead", console="read")
    session = door.login(secret, HERE)
    for _ in range(int(LASTS_S // (IDLE_S / 2)) - 1):
        clock.now += IDLE_S / 2
        door.enter(with_cookie(session))
    clock.now += IDLE_S / 2
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie(session))
    idle = door.login(secret, HERE)
    clock.now += IDLE_S
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie(idle))


def test_a_login_ends_the_session_before_it(door, keys):
    _, secret = keys.create("lead", console="read")
    planted = door.login(secret, HERE)  # an attacker's, put into the victim's browser
    session = door.login(secret, with_cookie(planted))
    assert session != planted
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie(planted))
    assert door.enter(with_cookie(session)).name == "lead"
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie("a" * 43))
    door.logout(with_cookie(session))
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie(session))


def test_forms_of_other_sites_are_refused(open_door):
    visitor, secret = open_door.begin_local()
    asked = with_cookie(secret)
    open_door.require_act(visitor, asked, visitor.token)
    for site in ("cross-site", "same-site"):
        with pytest.raises(RefusedError, match="Another site"):
            open_door.require_act(visitor, msgspec.structs.replace(asked, site=site), visitor.token)
    for origin in ("http://evil.example", "null", "http://localhost:9999"):
        with pytest.raises(RefusedError, match="Another site"):
            open_door.require_act(
                visitor, msgspec.structs.replace(asked, origin=origin), visitor.token
            )
    for token in ("", "x", visitor.token[:-1]):
        with pytest.raises(RefusedError, match="Load it again"):
            open_door.require_act(visitor, asked, token)
    with pytest.raises(RefusedError, match="Load it again"):  # no session, so no token
        open_door.require_act(open_door.enter(HERE), HERE, "")


def test_a_local_session_is_none_once_keys_are_needed(keys, clock):
    needed = []
    door = Door(keys, lambda: bool(needed), clock=clock)
    _, secret = door.begin_local()
    needed.append(1)
    with pytest.raises(LoginNeededError):
        door.enter(with_cookie(secret))


def test_sessions_outlive_the_process_and_no_more_than_so_many(keys, clock, tmp_path):
    file = tmp_path / "sessions.json"
    _, secret = keys.create("lead", console="read")
    session = Door(keys, lambda: True, kept=file, clock=clock).login(secret, HERE)
    assert session not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    again = Door(keys, lambda: True, kept=file, clock=clock)
    assert again.enter(with_cookie(session)).name == "lead"
    for _ in range(MOST_SESSIONS):
        clock.now += 0.001
        again.begin_local()
    with pytest.raises(LoginNeededError):  # the one that was used longest ago went
        again.enter(with_cookie(session))
    file.write_text("{")
    assert Door(keys, lambda: True, kept=file, clock=clock).begin_local()


@pytest.mark.parametrize("cookie", [f"{COOKIE}=", "\x00", f"{COOKIE}=\ud800", ";;;=", "a" * 5000])
def test_cookies_that_are_none(door, cookie):
    with pytest.raises(LoginNeededError):
        door.enter(msgspec.structs.replace(HERE, cookie=cookie))


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(door):
    cookie = door.cookie("secret", secure=True)
    for part in ("HttpOnly", "SameSite=Strict", "Secure", "Path=/console", "Max-Age=43200"):
        assert part in cookie
    assert "Secure" not in door.cookie("secret", secure=False)
    assert "Max-Age=0" in door.cookie("", secure=False, ends=True)
