"""Losing the store: a gateway that had keys stays closed, and writes nothing where nobody looks."""

import json

from gateway.keyed import CHAT, eventually
from openwheel.access import Access
from openwheel.store import Store


def remove(store: Store) -> None:
    for path in store.path.parent.glob(f"{store.path.name}*"):
        path.unlink()


def test_a_gateway_that_had_keys_stays_closed_while_its_store_is_gone(guarded, by_path, ask):
    running = guarded()
    _, secret = running.key()
    away = running.store.path.parent / "away"
    away.mkdir()
    files = list(running.store.path.parent.glob("openwheel.db*"))
    for path in files:
        path.rename(away / path.name)
    assert eventually(lambda: health(ask, running, secret)["status"] == "degraded")
    assert "is gone" in health(ask, running, secret)["problem"]
    assert ask(running, "POST", "/v1/chat/completions", **CHAT).status == 401
    assert ask(running, "POST", "/v1/chat/completions", secret, **CHAT).status == 200
    # What cannot be kept is not counted as kept, and no new store is made in silence.
    assert eventually(lambda: health(ask, running, secret)["capture"]["error"])
    assert health(ask, running, secret)["capture"]["written"] == 0
    assert not running.store.path.exists()
    for path in files:
        (away / path.name).rename(path)
    assert eventually(lambda: health(ask, running, secret)["status"] == "ok")
    assert eventually(lambda: running.store.count() == 1)


def test_nor_does_one_that_starts_anew(tmp_path, guarded, by_path, ask, caplog):
    first = guarded()
    _, secret = first.key()
    remove(first.store)
    second = guarded()
    for key in ("", secret):
        assert ask(second, "POST", "/v1/chat/completions", key, **CHAT).status == 401
    assert "There were keys" in caplog.text
    assert str(tmp_path) in caplog.text
    assert not by_path.received
    _, made = second.key("anew")
    assert ask(second, "POST", "/v1/chat/completions", made, **CHAT).status == 200


def test_the_operator_decides(tmp_path, guarded, by_path, ask):
    first = guarded()
    first.key()
    remove(first.store)
    opened = guarded(required=False)
    assert ask(opened, "POST", "/v1/chat/completions", **CHAT).status == 200


def test_either_of_the_two_notes_is_enough(tmp_path, guarded):
    (tmp_path / "store").mkdir()
    (tmp_path / "shared").mkdir()
    running = guarded()
    running.key()
    notes = sorted(tmp_path.glob(".keyed-*"))
    assert len(notes) == 2
    for note, folder in zip(notes, ("shared", "store"), strict=True):
        assert note.stat().st_mode & 0o777 == 0o600
        moved = tmp_path / folder / note.name.replace("limits", "l")
        note.rename(moved)
    with Store.open(tmp_path / "store" / "openwheel.db") as store:
        for shared in (tmp_path / "shared" / "l", tmp_path / "elsewhere"):
            for path in (tmp_path / "shared").glob("[!.]*"):
                path.unlink()
            access = Access(store, shared)
            assert access.in_force
            access.close()


def test_a_replaced_store_is_not_taken_for_the_one_that_was_opened(guarded, by_path, ask):
    running = guarded()
    _, secret = running.key()
    remove(running.store)
    Store.open(running.store.path).close()
    assert eventually(lambda: "replaced" in health(ask, running, secret)["problem"])
    assert ask(running, "POST", "/v1/chat/completions", **CHAT).status == 401


def test_a_store_is_readable_by_its_owner_alone(guarded, by_path, ask):
    running = guarded()
    ask(running, "POST", "/v1/chat/completions", **CHAT)
    assert eventually(lambda: running.store.count() == 1)
    files = list(running.store.path.parent.glob("openwheel.db*"))
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def health(ask, running, secret=""):
    return json.loads(ask(running, "GET", "/healthz", secret).data)
