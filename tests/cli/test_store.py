"""``openwheel store``: a store as a whole, and copies of it."""

import json

import pytest

from cli.runner import run


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    """Keep what belongs to a database in this test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_learned_store_goes_to_postgres_and_back_and_is_used_there(learned, postgres_url):
    def told(*arguments):
        return json.loads(run(*arguments, "--json", cwd=learned).stdout)

    def evaluated(*arguments):
        (found,) = told("evaluate", "log.jsonl", *arguments)["tasks"]
        return [found[name] for name in ("task", "n", "answered", "disagreements")]

    said = run("store", "copy", "openwheel.db", postgres_url, cwd=learned).stdout
    assert "1,500 exchanges, 1,500 of them new" in said
    assert "Both were compared" in said
    assert told("tasks", "--db", postgres_url) == told("tasks")
    (certificate,) = told("certificates", "--db", postgres_url)["certificates"]
    assert "holds" in run("verify", certificate["id"], "--db", postgres_url, cwd=learned).stdout
    # The student is there with its files, and answers.
    assert evaluated("--db", postgres_url) == evaluated()
    run("store", "copy", postgres_url, "back.db", cwd=learned)
    assert told("store", "copy", "--check", "openwheel.db", "back.db")["same"]
    assert evaluated("--db", "back.db") == evaluated()
    shown = told("store", "show", "--db", postgres_url)
    assert (shown["exchanges"], shown["newest"], shown["store"]) == (1_500, 1_500, postgres_url)


def test_what_cannot_be_copied_says_why(learned, postgres_url):
    run("store", "copy", "openwheel.db", postgres_url, cwd=learned)
    run("stop", "--db", postgres_url, cwd=learned)
    done = run("store", "copy", "openwheel.db", postgres_url, cwd=learned, code=2)
    assert "holds data of its own" in done.stderr
    done = run("store", "copy", "--check", "openwheel.db", postgres_url, cwd=learned, code=2)
    assert "The table stops" in done.stderr
    done = run("store", "copy", "openwheel.db", "openwheel.db", cwd=learned, code=2)
    assert "must be two stores" in done.stderr
    done = run("store", "copy", "none.db", postgres_url, cwd=learned, code=2)
    assert "There is no traffic store at none.db" in done.stderr
