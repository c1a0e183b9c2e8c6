"""``openwheel logs``: what would be read, and traffic written out."""

import csv
import json

import pytest

from cli.runner import run
from log_shapes import ANSWER, CHAT, COMPLETION, ISO, MODEL, SYSTEM, USER
from made_up import tickets, write_log


def shown(folder, *arguments):
    return json.loads(run("logs", *arguments, "--json", cwd=folder).stdout)


def test_what_would_be_read(tmp_path):
    rows = [
        {"time": ISO, "request": CHAT, "response": COMPLETION},
        {"type": "SPAN", "input": {"ticket": USER}, "output": ANSWER},
        {"ticket": USER, "queue": ANSWER},
        {"text": USER, "label": ANSWER},
    ]
    log = write_log(tmp_path / "log.jsonl", rows)
    found = shown(tmp_path, log)
    assert found["formats"] == [{"name": "chat completions", "n": 1}, {"name": "pairs", "n": 1}]
    assert (found["exchanges"], found["lines"], found["bad"]) == (2, 4, 1)
    assert found["skipped"] == [{"reason": "a span of the application (span)", "n": 1}]
    assert "--input-key 'ticket' --output-key 'queue'" in found["first_bad"][0]
    first = found["first"]
    assert {first[key] for key in ("api", "model", "system", "input", "answer")} == {
        "chat",
        MODEL,
        SYSTEM,
        USER,
        ANSWER,
    }
    assert first["time"] == 1_790_000_000
    assert first["settings"] == {"model": f'"{MODEL}"', "temperature": "0"}
    assert found["times_missing"] == 1
    assert "1 exchanges have no time" in found["advice"][0]
    said = run("logs", log, cwd=tmp_path)
    assert "chat completions" in said.stdout
    assert f"system: {SYSTEM}" in said.stdout
    assert not (tmp_path / "openwheel.db").exists()


def test_a_log_with_nothing_to_read_is_shown_too(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n{"type": "TOOL", "input": 1, "output": 2}\n')
    found = shown(tmp_path, "log.jsonl")
    assert (found["exchanges"], found["bad"], found["first"]) == (0, 1, None)
    assert "There is no log at none" in run("logs", "none", cwd=tmp_path, code=2).stderr


def test_tasks_in_sight_and_answers_in_something(tmp_path):
    rows = [{**row, "output": {"answer": row["output"], "model": "m"}} for row in tickets(60)]
    log = write_log(tmp_path / "log.jsonl", rows)
    found = shown(tmp_path, log)
    assert [(task["form"], task["n"]) for task in found["tasks"]] == [("label", 60)]
    assert found["wrapped"] == 60
    said = run("logs", log, cwd=tmp_path).stderr
    assert "look like something inside something else" in said
    assert "--output-key" in said
    again = shown(tmp_path, log, "--output-key", "output.answer")
    assert (again["wrapped"], again["first"]["answer"]) == (0, rows[0]["output"]["answer"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a store that a log was learned into."""
    folder = tmp_path_factory.mktemp("logs")
    run("learn", write_log(folder / "log.jsonl", tickets(100)), cwd=folder)
    return folder


def test_a_whole_store_reads_back_the_same(folder):
    run("logs", "export", "all.jsonl", cwd=folder)
    run("learn", "all.jsonl", "--db", "other.db", cwd=folder)
    run("logs", "export", "again.jsonl", "--db", "other.db", cwd=folder)
    assert (folder / "again.jsonl").read_bytes() == (folder / "all.jsonl").read_bytes()
    assert shown(folder, "all.jsonl")["formats"] == [{"name": "Openwheel", "n": 100}]
    assert len(run("logs", "export", "-", cwd=folder).stdout.splitlines()) == 100


def test_a_task_as_chats_to_fine_tune_on(folder):
    run("logs", "export", "tune.jsonl", "--task", "messages", "--as", "fine-tuning", cwd=folder)
    training, validating = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("tune.jsonl", "tune.validation.jsonl")
    )
    assert (len(training), len(validating)) == (90, 10)
    first = tickets(100)[0]
    assert training[0] == {
        "messages": [
            {"role": "user", "content": first["input"]},
            {"role": "assistant", "content": first["output"]},
        ]
    }
    assert shown(folder, "tune.jsonl")["exchanges"] == 90


def test_a_task_as_a_table(folder):
    run("logs", "export", "t.csv", "--task", "messages", "--as", "csv", cwd=folder)
    with (folder / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["output"] for row in rows] == [row["output"] for row in tickets(100)]
    assert [row["split"] for row in rows] == ["train"] * 90 + ["validation"] * 10
    assert rows[0]["time"] == "1700000000.0"
    parquet = pytest.importorskip("pyarrow.parquet")
    run("logs", "export", "t.parquet", "--task", "messages", "--as", "parquet", cwd=folder)
    table = parquet.read_table(folder / "t.parquet").to_pylist()
    assert [row["input"] for row in table] == [row["input"] for row in rows]
    assert table[0]["time"] == 1_700_000_000.0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("x.jsonl", "--as", "excel"), "--as must be one of openwheel, fine-tuning, csv, parquet"),
        (("x.csv", "--as", "csv"), "name it with --task"),
        (("x.csv", "--as", "csv", "--task", "none"), "none"),
        (("no/such/x.jsonl",), "no/such/x.jsonl cannot be written"),
    ],
)
def test_what_cannot_be_written(folder, arguments, reason):
    assert reason in run("logs", "export", *arguments, cwd=folder, code=2).stderr
    assert not list(folder.glob("x.*"))
