"""Leases in the store: who has which, since when by the database's clock, and who died at which."""

import pytest

from openwheel.store import leases


@pytest.fixture
def store(both):
    return both


def end(transaction, name):
    """Let a lease have ended a second ago."""
    row = leases.find(transaction, name)
    assert leases.renew(transaction, name, row.holder, row.token, seconds=-1)


def test_a_lease_is_taken_by_one_and_its_token_grows_with_each(store):
    with store.write() as transaction:
        assert leases.acquire(transaction, "a", "me", seconds=60) == 1
        assert leases.acquire(transaction, "a", "you", seconds=60) is None
        assert leases.acquire(transaction, "b", "you", seconds=60) == 1
        leases.release(transaction, "a", "me", 1, done=None)
        assert leases.acquire(transaction, "a", "you", seconds=60) == 2
        assert leases.acquire(transaction, "a", "me", seconds=None, steal=True) == 3
        assert leases.is_held(transaction, "a", "me", 3)
        assert not leases.is_held(transaction, "a", "you", 2)


def test_one_that_has_ended_may_be_taken_and_its_last_holder_has_it_no_more(store):
    with store.write() as transaction:
        leases.acquire(transaction, "a", "me", seconds=60)
        end(transaction, "a")
        assert leases.is_held(transaction, "a", "me", 1)  # nobody has taken it
        assert leases.renew(transaction, "a", "me", 1, seconds=60)
        assert leases.free_ended(transaction, name="a") == []
        end(transaction, "a")
        assert leases.acquire(transaction, "a", "you", seconds=60) is None  # nobody was told
        assert leases.free_ended(transaction, name="b") == []
        assert leases.free_ended(transaction, name="a") == ["a"]
        assert leases.acquire(transaction, "a", "you", seconds=60) == 2
        assert not leases.is_held(transaction, "a", "me", 1)
        assert not leases.renew(transaction, "a", "me", 1, seconds=60)
        leases.release(transaction, "a", "me", 1, done=(9, 9))
        assert leases.find(transaction, "a") == ("a", "you", 2, 0, 0)


def test_the_same_holder_does_not_keep_a_lease_that_it_has_taken_anew(store):
    with store.write() as transaction:
        leases.acquire(transaction, "a", "me", seconds=60)
        end(transaction, "a")
        leases.free_ended(transaction)
        assert leases.acquire(transaction, "a", "me", seconds=60) == 2
        assert not leases.is_held(transaction, "a", "me", 1)
        assert not leases.renew(transaction, "a", "me", 1, seconds=60)


def test_what_was_done_is_kept_when_it_is_given_back(store):
    with store.write() as transaction:
        token = leases.acquire(transaction, "a", "me", seconds=60)
        leases.release(transaction, "a", "me", token, done=(3, 500))
        assert leases.find(transaction, "a") == ("a", "", 1, 3, 500)
        token = leases.acquire(transaction, "a", "me", seconds=60)
        leases.release(transaction, "a", "me", token, done=None)
        assert leases.read(transaction) == {"a": ("a", "", 2, 3, 500)}
        assert leases.find(transaction, "b") is None


def test_those_that_ended_without_being_given_back_are_told_once(store):
    with store.write() as transaction:
        for name, seconds in (("ended", 60), ("lasts", 60), ("forever", None), ("free", 60)):
            leases.acquire(transaction, name, "me", seconds=seconds)
        leases.release(transaction, "free", "me", 1, done=None)
        assert not leases.have_ended(transaction)
        end(transaction, "ended")
        assert leases.have_ended(transaction)
        assert leases.free_ended(transaction) == ["ended"]
        assert leases.free_ended(transaction) == []
        assert leases.have_ended(transaction, everyone=True)
        assert leases.free_ended(transaction, everyone=True) == ["forever", "lasts"]
        assert not leases.have_ended(transaction, everyone=True)


def test_one_that_is_stopped_gives_all_of_its_own_back(store):
    with store.write() as transaction:
        leases.acquire(transaction, "a", "me", seconds=60)
        leases.acquire(transaction, "b", "you", seconds=60)
        leases.release_all(transaction, "me")
        assert leases.free_ended(transaction, everyone=True) == ["b"]
