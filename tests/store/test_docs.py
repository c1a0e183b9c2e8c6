"""The documents say what the code does."""

import re
import sqlite3
from pathlib import Path

from openwheel.store import Exchange, Store
from openwheel.store.schema import exchanges
from openwheel.wire import Answer

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_column_is_in_the_documents():
    text = (DOCS / "store.md").read_text()
    for column in exchanges.columns:
        assert f"`{column.name}`" in text


def test_the_commands_for_deleting_are_valid(tmp_path):
    path = tmp_path / "x.db"
    with Store.open(path) as store:
        old = {"request": b"{}", "answer": Answer("secret-text"), "source": "log"}
        store.append([Exchange(id="a", time=1e9, **old), Exchange(id="b", time=4e9, **old)])
        store.assign([(2, "route-a-ticket", "[]", "")])
    commands = re.findall(
        r'^sqlite3 openwheel\.db "([^."].*)"$', (DOCS / "store.md").read_text(), re.M
    )
    assert len(commands) == 3
    connection = sqlite3.connect(path)
    left = []
    for command in commands:
        connection.executescript(command)
        left.append(connection.execute("SELECT count(*) FROM exchanges").fetchone()[0])
    connection.close()
    assert left == [1, 0, 0]
    assert b"secret-text" not in path.read_bytes()
