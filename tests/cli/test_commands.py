"""The commands on real files, and each once as a user runs it: a real process."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from typer.main import get_command

from cli.runner import run, run_process
from made_up import tickets, write_log
from openwheel.cli import app


class Openwheel:
    """Runs commands in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str | Path, code: int = 0, stdin: str = "") -> str:
        done = run(*arguments, cwd=self.folder, code=code, stdin=stdin)
        self.said = done.stderr
        return done.stdout

    def json(self, *arguments: str | Path, code: int = 0) -> dict:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def openwheel(tmp_path: Path) -> Openwheel:
    return Openwheel(tmp_path)


FINDING = {
    "task",
    "form",
    "n",
    "certified",
    "rung",
    "student",
    "threshold",
    "calibration",
    "coverage",
    "bound",
    "epsilon",
    "delta",
    "reason",
    "more_needed",
}
SCORE = {
    *("n", "answered", "coverage", "disagreements", "disagreement", "loss", "interval", "p50_ms")
}


AS_PROCESSES = {
    "logs": ("log.jsonl",),
    "evaluate": ("log.jsonl", "--json"),
    "replay": ("few.jsonl", "--json"),
    "tasks": (),
    "students": (),
    "certificates": (),
    "verify": ("{certificate}",),
    "shadow": ("{student}",),
    "promote": ("messages",),
    "demote": ("messages",),
    "stop": (),
    "resume": (),
    "audits": (),
    "check": ("--teacher", "replay:log.jsonl"),
    "keys": ("create", "desk"),
    "models": ("show", "Qwen/Qwen3-0.6B"),
    "policy": ("Qwen/Qwen3-0.6B",),
    "lineage": ("{student}",),
    "export": ("none", "--to", "out"),
    "feedback": (),
    "store": ("show",),
}
REFUSED = {"export", "shadow"}
"""One needs a model, and is tested with one in `test_export`; the other a student that was refused,
and is tested in `tests/loop/turn/test_lm.py`."""

QUICK = {"tasks", "demote", "check"}
"""What `make test` runs as processes: one that reads, one that writes, one that asks a teacher."""

ELSEWHERE = {"learn", "learner", "turn", "up", "serve", "console", "bundle", "edge"}
"""Run as processes by other tests: of the gateway, the learner, the engine, the console, the edge.
"""


def test_all_commands_are_run_as_processes():
    assert set(get_command(app).commands) == set(AS_PROCESSES) | ELSEWHERE


@pytest.mark.parametrize(
    "command",
    [
        command if command in QUICK else pytest.param(command, marks=pytest.mark.evidence)
        for command in AS_PROCESSES
    ],
)
def test_a_command_is_a_process_of_its_own(learned, command):
    write_log(learned / "few.jsonl", tickets(50))
    (certificate,) = Openwheel(learned).json("certificates")["certificates"]
    ids = {"certificate": certificate["id"], "student": certificate["student"]}
    arguments = [argument.format(**ids) for argument in AS_PROCESSES[command]]
    done = run_process(command, *arguments, cwd=learned, code=2 * (command in REFUSED))
    if command in REFUSED:
        assert done.stderr.startswith("openwheel: ")
    else:
        assert done.stdout + done.stderr


def test_learn_evaluate_verify(openwheel, tmp_path):
    log = write_log(tmp_path / "log.jsonl", tickets(1_500))
    found = openwheel.json("learn", log, "--report", "report.html")
    (task,) = found["tasks"]
    assert set(task) >= FINDING
    assert set(task["calibration"]) == {"n", "answered", "disagreements", "loss"}
    assert task["certified"]
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")

    fresh = write_log(tmp_path / "fresh.jsonl", tickets(400, seed=7))
    scores = openwheel.json("evaluate", fresh)
    assert set(scores["total"]) == SCORE
    assert scores["total"]["n"] == 400
    assert scores["total"]["disagreement"] <= 0.05
    assert scores["tasks"][0]["task"] == task["task"]
    assert set(scores["tasks"][0]) == SCORE | {"task"}

    verified = openwheel.json("verify", task["certificate"][:12])
    assert verified["holds"]
    assert verified["bound"] == pytest.approx(task["bound"])


def test_answers_are_folded_from_the_command_line(openwheel, tmp_path):
    rows = tickets(1_000)
    for i, row in enumerate(rows):
        row["output"] = row["output"].title() if i % 5 == 0 else row["output"]
    log = write_log(tmp_path / "log.jsonl", rows)
    refused = openwheel("learn", log)
    assert "differ from another one only by upper and lower case" in refused.replace("\n", " ")
    assert "--answer case" in refused
    learned = openwheel("learn", log, "--answer", "case")
    assert "Certified" in learned
    assert "--answer case" in learned
    assert "answer must be of" in openwheel("learn", log, "--answer", "Case", code=2) + (
        openwheel.said
    )


def test_lists(learned_once):
    openwheel = Openwheel(learned_once)
    (task,) = openwheel.json("tasks")["tasks"]
    (student,) = openwheel.json("students")["students"]
    (certificate,) = openwheel.json("certificates")["certificates"]
    assert task["student"] == student["student"] == certificate["student"]
    assert student["state"] == "promoted"
    assert certificate["tests"]
    assert certificate["files"] == student["files"]
    for command in ("tasks", "students", "certificates"):
        assert task["task"] in openwheel(command)


def test_a_certificate_that_was_altered_does_not_verify(learned_once, tmp_path):
    openwheel = Openwheel(learned_once)
    (certificate,) = openwheel.json("certificates")["certificates"]
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate))
    assert openwheel.json("verify", path)["holds"]
    certificate["calibration"]["disagreements"] -= 1
    path.write_text(json.dumps(certificate))
    assert not openwheel.json("verify", path, code=1)["holds"]
    assert "does not hold" in openwheel("verify", path, code=1)


def test_a_certificate_whose_student_was_changed_does_not_verify(openwheel, learned):
    (student,) = openwheel.json("students")["students"]
    (learned / student["folder"] / "student.json").write_text("{}")
    (certificate,) = openwheel.json("certificates")["certificates"]
    found = openwheel.json("verify", certificate["id"], code=1)
    assert "student.json was changed" in found["problems"][0]
    assert "was changed" in (openwheel("promote", "messages", code=2) or openwheel.said)


def test_promote_and_demote(openwheel, learned):
    name = openwheel.json("tasks")["tasks"][0]["task"]
    fresh = write_log(learned / "fresh.jsonl", tickets(100, seed=7))
    openwheel("demote", name)
    assert openwheel.json("evaluate", fresh)["total"]["answered"] == 0
    assert openwheel.json("tasks")["tasks"][0]["student"] is None
    openwheel("promote", name)
    assert openwheel.json("evaluate", fresh)["total"]["answered"] > 80
    openwheel("demote", "no-such-task", code=2)
    assert "no task 'no-such-task'" in openwheel.said
    assert name in openwheel.said


def test_csv_gzip_stdin_and_keys(openwheel, tmp_path):
    rows = tickets(300)
    with (tmp_path / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ticket", "queue"])
        writer.writerows([row["input"], row["output"]] for row in rows)
    found = openwheel.json(
        "learn", "log.csv", "--input-key", "ticket", "--output-key", "queue", "--db", "csv.db"
    )
    assert found["tasks"][0]["n"] == 300
    with gzip.open(tmp_path / "log.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert openwheel.json("learn", "log.jsonl.gz", "--db", "gz.db")["exchanges"] == 300
    openwheel(
        "learn", "-", "--db", "stdin.db", stdin="".join(json.dumps(row) + "\n" for row in rows)
    )
    assert "300 exchanges read" in openwheel.said


def test_bad_lines_are_counted_and_shown_or_fatal(openwheel, tmp_path):
    log = tmp_path / "log.jsonl"
    good = [json.dumps(row) for row in tickets(100)]
    log.write_text("\n".join([*good[:50], "{not json", '{"neither": 1}', *good[50:]]) + "\n")
    found = openwheel.json("learn", log)
    assert found["bad_lines"] == 2
    assert found["exchanges"] == 100
    assert "log.jsonl:51:" in openwheel.said
    assert "log.jsonl:52:" in openwheel.said
    openwheel("learn", log, "--strict", "--db", "strict.db", code=2)
    assert "log.jsonl:51:" in openwheel.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("learn", "missing.jsonl"), "missing.jsonl"),
        (("learn", "empty.jsonl"), "empty"),
        (("learn", "useless.jsonl"), "No usable exchange"),
        (
            ("learn", "log.jsonl", "--epsilon", "1.5"),
            "loop.epsilon must be a number, above 0, below 1, was",
        ),
        (
            ("learn", "log.jsonl", "--delta", "0"),
            "loop.delta must be a number, above 0, below 1, was",
        ),
        (("learn", "log.jsonl", "--rungs", "deep"), "loop.rungs must be"),
        (("learn", "log.jsonl", "--rungs", "encoder"), "needs an encoder"),
        (("learn", "log.jsonl", "--encoder", "no/such/folder"), "no/such/folder"),
        (("learn", "log.jsonl", "--report", "no/such/folder/r.html"), "r.html"),
        (("evaluate", "log.jsonl", "--db", "missing.db"), "missing.db"),
        (("tasks", "--db", "missing.db"), "missing.db"),
        (("tasks", "--db", "log.jsonl"), "log.jsonl"),
        (("verify", "abc"), "abc"),
        (("promote", "nothing"), "nothing"),
    ],
)
def test_bad_input_is_a_line_and_exit_code_2(openwheel, tmp_path, arguments, said):
    write_log(tmp_path / "log.jsonl", tickets(100))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "useless.jsonl").write_text('{"a": 1}\n')
    if arguments[0] in {"verify", "promote"}:
        openwheel("learn", "log.jsonl")
    openwheel(*arguments, code=2)
    assert said in openwheel.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--teacher", "ftp://x"), "--teacher must be a URL"),
        pytest.param(
            ("--teacher", "replay:missing.jsonl"), "missing.jsonl", marks=pytest.mark.evidence
        ),
        pytest.param(
            ("--teacher", "http://127.0.0.1:9", "--host", "0.0.0.0"),
            "0.0.0.0",
            marks=pytest.mark.evidence,
        ),
    ],
)
def test_a_gateway_that_cannot_start_is_a_line_and_exit_code_2(tmp_path, arguments, said):
    assert said in run_process("up", *arguments, cwd=tmp_path, code=2).stderr


def test_learning_the_same_log_again_adds_nothing_and_judges_nobody_anew(openwheel, tmp_path):
    log = write_log(tmp_path / "log.jsonl", tickets(1_000))
    openwheel("learn", log)
    found = openwheel.json("learn", log)
    assert found["exchanges"] == 1_000
    (task,) = found["tasks"]
    assert not task["certified"]
    assert "judge no second attempt" in task["reason"]
    assert task["more_needed"] > 0


def test_replay_prints_one_object(openwheel, tmp_path):
    log = write_log(tmp_path / "log.jsonl", tickets(500))
    found = openwheel.json("replay", log)
    assert set(found["total"]) == SCORE
    assert found["timeline"][-1]["n"] == 500
    assert found["total"]["answered"] > 0
    assert not list(tmp_path.glob("*.db"))
    assert "promoted" in openwheel("replay", log, "--db", "kept.db")
    assert (tmp_path / "kept.db").exists()
    openwheel("replay", log, "--db", "kept.db", code=2)


def test_help_and_version(openwheel):
    for command in ("learn", "evaluate", "replay", "up", "turn", "tasks", "verify"):
        assert command in openwheel("--help")
        assert "--db" in openwheel(command, "--help")
    assert openwheel("--version").strip()
