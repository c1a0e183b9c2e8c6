"""The documents say what the code does."""

import json
import re
import sqlite3
from pathlib import Path

from openwheel.traffic import Exchange, LogProblems, Store, read_log
from openwheel.traffic.log_records import (
    _LATENCY_KEYS,
    _TIME_KEYS,
    INPUT_KEYS,
    OUTPUT_KEYS,
)
from openwheel.traffic.log_requests import REQUEST_KEYS
from openwheel.traffic.schema import exchanges
from openwheel.wire import Answer, ToolCall, Usage

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(name, kind):
    return re.findall(rf"```{kind}\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


def test_every_example_line_is_read(tmp_path):
    examples = "".join(blocks("logs.md", "json"))
    path = tmp_path / "log.jsonl"
    path.write_text(examples)
    problems = LogProblems()
    found = list(read_log(path, problems=problems, strict=True))
    assert len(found) == problems.lines == len(examples.splitlines()) >= 12
    for exchange in found:
        assert "Pump 3 leaks" in exchange.prompt().messages[-1].text
        assert "pumps" in exchange.answer.text


def test_every_key_is_in_the_documents():
    text = (DOCS / "logs.md").read_text()
    for key in [*INPUT_KEYS, *OUTPUT_KEYS, *_TIME_KEYS, *_LATENCY_KEYS, *REQUEST_KEYS]:
        assert f"`{key}`" in text


def test_every_column_is_in_the_documents():
    text = (DOCS / "store.md").read_text()
    for column in exchanges.columns:
        assert f"`{column.name}`" in text


def test_the_export_is_a_log_that_is_read(tmp_path):
    body = {"model": "m", "messages": [{"role": "user", "content": "Größe"}], "n": 1}
    stored = Exchange(
        id="a",
        time=1_700_000_000.5,
        request=json.dumps(body).encode(),
        answer=Answer("pumps", (ToolCall("f", '{"a": 1}'),)),
        source="teacher",
        model="m",
        task="t",
        latency_ms=3.0,
        usage=Usage(1, 2),
    )
    plain = Exchange(id="b", request=stored.request, answer=Answer("x\n"), source="log")
    student = Exchange(id="c", request=stored.request, answer=Answer("y"), source="student")
    path = tmp_path / "x.db"
    with Store.open(path) as store:
        store.append([stored, plain, student])
    (query,) = blocks("store.md", "sql")
    connection = sqlite3.connect(path)
    (tmp_path / "log.jsonl").write_text("".join(f"{row}\n" for (row,) in connection.execute(query)))
    connection.close()
    one, two = read_log(tmp_path / "log.jsonl", problems=LogProblems(), strict=True)
    assert (one.time, one.model, one.task, one.latency_ms) == (1_700_000_000.5, "m", "t", 3.0)
    assert one.answer == stored.answer
    assert json.loads(one.request) == body
    assert two.answer == plain.answer
    assert two.time == 0.0


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
