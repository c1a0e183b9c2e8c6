"""Gateways hear of changes from the database, and look for them where they do not."""

import json
import time
import urllib.request

import psycopg
import pytest

from openwheel.access import Access, KeyStore
from openwheel.gateway import create_app, gateway_thread
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.store import Store
from openwheel.teachers import RecordedTeacher

HOUR = 3_600.0
LISTENING = "SELECT pid FROM pg_stat_activity WHERE application_name = 'openwheel-listen'"


@pytest.fixture
def gateway(postgres_url, tmp_path, monkeypatch):
    """Return the store, serving and access of a gateway that looks once an hour, and its URL."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Store.open(postgres_url) as store:
        serving = Looked(Registry(store))
        access = Access(store, tmp_path / "limits")
        app = create_app(
            RecordedTeacher([]),
            serving,
            access=access,
            refresh_every=HOUR,
            wait_for_change=store.wait,
        )
        with gateway_thread(app) as url:
            until(lambda: sql(postgres_url, LISTENING))
            until(lambda: serving.looks >= 2)  # once more, after it listens
            yield serving, access, url
        access.close()


class Looked(RegistryServing):
    """Counts its looks."""

    looks = 0

    def refresh(self) -> bool:
        self.looks += 1
        return super().refresh()


def sql(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def health(url):
    with urllib.request.urlopen(f"{url}/healthz") as response:
        return json.load(response)


def test_a_change_reaches_a_gateway_that_looks_once_an_hour(gateway, postgres_url):
    serving, access, url = gateway
    assert "requests" in health(url)
    with Store.open(postgres_url) as elsewhere:
        KeyStore(elsewhere).create("desk")
        until(lambda: access.in_force)
        assert health(url) == {"status": "ok"}  # it tells no more to who has no key
        looks = serving.looks
        Registry(elsewhere).set_stopped(True, by="somebody")
        until(lambda: serving.looks > looks)


def test_what_was_not_told_while_the_connection_was_lost_is_looked_up(gateway, postgres_url):
    serving, access, _ = gateway
    ((listener,),) = sql(postgres_url, LISTENING)
    looks = serving.looks
    with Store.open(postgres_url) as elsewhere:
        sql(postgres_url, f"SELECT pg_terminate_backend({listener})")
        KeyStore(elsewhere).create("desk")
    until(lambda: access.in_force)
    until(lambda: serving.looks > looks)


def test_without_notifications_gateways_look(postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def deaf(seconds):
        time.sleep(seconds)

    with Store.open(postgres_url) as store:
        access = Access(store, tmp_path / "limits")
        app = create_app(
            RecordedTeacher([]),
            RegistryServing(Registry(store)),
            access=access,
            refresh_every=0.1,
            wait_for_change=deaf,
        )
        with gateway_thread(app), Store.open(postgres_url) as elsewhere:
            KeyStore(elsewhere).create("desk")
            until(lambda: access.in_force)
        access.close()
