"""``openwheel export``, run as a user runs it."""

import json

import pytest

from cli.runner import run
from export import tiny
from made_up import tickets, write_log


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a tiny checkpoint in it, and settings that say what it is under."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "openwheel.toml").write_text('[policy.models]\n"target" = "MIT"\n')
    tiny.saved(folder / "target", "qwen2", tiny.byte_level(), num_hidden_layers=3)
    return folder


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("export", "target", "--to", "n", "--as", "exe"), "--as must be adapter, merged"),
        (("export", "target", "--to", "n"), "has no adapter to export"),
        (("export", "target", "--to", "n", "--as", "onnx"), "not as onnx"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(desk, arguments, says):
    told = run(*arguments, cwd=desk, code=2)
    assert says in told.stderr
    assert not (desk / "n").exists()


def test_a_student_is_named_by_the_start_of_its_id(tmp_path):
    write_log(tmp_path / "log.jsonl", tickets(1_000))
    run("learn", "log.jsonl", "--rungs", "linear", cwd=tmp_path)
    (student,) = json.loads(run("students", "--json", cwd=tmp_path).stdout)["students"]
    told = run("export", student["student"][:6], "--to", "out", cwd=tmp_path, code=2)
    assert "Students of the rung linear hold no model that other software loads" in told.stderr
    told = run("export", "nope", "--to", "out", cwd=tmp_path, code=2)
    assert "There is no student 'nope'" in told.stderr
    assert not (tmp_path / "out").exists()


def test_the_policy_has_a_veto_and_names_have_conditions(desk, tmp_path):
    settings = tmp_path / "openwheel.toml"
    settings.write_text('[policy.models]\n"*target*" = "LicenseRef-Llama-3.1"\n')
    told = run(
        *("export", "target", "--as", "merged", "--to", tmp_path / "named", "--json"),
        *("--config", settings),
        cwd=desk,
    )
    done = json.loads(told.stdout)
    assert done["name"] == "Llama-target"
    assert "Built with Llama" in (tmp_path / "named" / "NOTICE").read_text()
    told = run(
        *("export", "target", "--as", "merged", "--to", tmp_path / "mine", "--name", "mine"),
        *("--config", settings),
        cwd=desk,
        code=2,
    )
    assert "asks that its name begins with 'Llama'" in told.stderr
    assert not (tmp_path / "mine").exists()
    settings.write_text(
        '[policy]\nforbidden_licences = ["MIT"]\n[policy.models]\n"*target*" = "MIT"\n'
    )
    told = run(
        *("export", "target", "--as", "gguf", "--to", tmp_path / "no", "--config", settings),
        cwd=desk,
        code=2,
    )
    assert "MIT" in told.stderr
    assert not (tmp_path / "no").exists()
