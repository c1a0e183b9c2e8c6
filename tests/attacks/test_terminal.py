"""What clients write reaches the operator's terminal as text, and commands it nothing."""

import json

import msgspec

from cli.runner import run
from openwheel.loop.feedback.desk import FeedbackDesk, read_feedback
from openwheel.store import Store
from openwheel.store.exchange import Exchange
from openwheel.wire import Answer

HURTS = [
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "right \u202e to left \u2067",
    r"x \[/b]",
    "[/b] [red]not red",
    "a\nreal-looking row\rb",
    ":smile:",
]
COMMANDS_A_TERMINAL = set("\x1b\x07\x9b\r\u202e\u2067")


def test_feedback_is_shown_as_text_and_ends_no_command(tmp_path):
    with Store.open(tmp_path / "openwheel.db") as store:
        for number, hurts in enumerate(HURTS):
            store.append(
                [
                    Exchange(
                        id=f"e{number}",
                        time=number,
                        request=b'{"messages":[{"role":"user","content":"x"}]}',
                        answer=Answer("a"),
                        source="teacher",
                    )
                ]
            )
            said = {"id": f"e{number}", "score": 0.5, "comment": hurts}
            FeedbackDesk(store).take(read_feedback(msgspec.json.encode(said)), None)
    shown = run("feedback", cwd=tmp_path).stdout
    assert not COMMANDS_A_TERMINAL & set(shown)
    for text in (r"\x1b[2J", r"x \[/b]", "[/b] [red]not red", r"a\nreal-looking row\rb", ":smile:"):
        assert text in shown
    as_json = run("feedback", "--json", cwd=tmp_path).stdout
    assert not COMMANDS_A_TERMINAL & set(as_json)
    comments = [one["comment"] for one in json.loads(as_json)["feedback"]]
    assert sorted(comments) == sorted(HURTS)


def test_lines_of_a_log_that_cannot_be_read_are_told_as_text(tmp_path):
    bad = json.dumps({"\x1b[2J\u202e": 1})
    (tmp_path / "log.jsonl").write_text(f"{bad}\n", encoding="utf-8")
    done = run("learn", "log.jsonl", cwd=tmp_path, code=2)
    assert "x1b[2J" in done.stderr
    assert not COMMANDS_A_TERMINAL & set(done.stderr)
