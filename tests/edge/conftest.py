"""A desk that learned one task, a bundle of it, and edges that run it."""

import json
import shutil
from pathlib import Path

import pytest

from cli.runner import run
from made_up import tickets, write_log

SYSTEM = "You sort support tickets into queues. Answer with the queue alone."
TASK = "sort-support-tickets"


def request_of(text: str, system: str = SYSTEM) -> dict:
    """Return what a client of the desk asks."""
    return {
        "model": "big",
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": text},
        ],
    }


@pytest.fixture(scope="session")
def desk_once(tmp_path_factory) -> Path:
    """Return a folder with a store in which a student is promoted, its bundle, and the keys."""
    folder = tmp_path_factory.mktemp("desk")
    rows = [
        {
            "time": 1_700_000_000 + 60 * number,
            "request": request_of(row["input"]),
            "response": {
                "model": "big",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": row["output"]},
                        "finish_reason": "stop",
                    }
                ],
            },
        }
        for number, row in enumerate(tickets(1_500))
    ]
    write_log(folder / "log.jsonl", rows)
    run("learn", "log.jsonl", "--epsilon", "0.1", "--rungs", "linear", cwd=folder)
    run("bundle", "--new-key", "signing.pem", cwd=folder)
    run("bundle", "--out", "desk.owb", "--key", "signing.pem", cwd=folder)
    return folder


@pytest.fixture
def desk(desk_once: Path, tmp_path: Path) -> Path:
    """Return a copy of it, for tests that change it."""
    return shutil.copytree(desk_once, tmp_path / "desk")


def said(folder: Path, *arguments: object) -> dict:
    """Return what a command prints as JSON."""
    return json.loads(run(*arguments, "--json", cwd=folder).stdout)
