"""``openwheel export`` and ``openwheel draft``, run as a user runs them."""

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.runner import run
from export import tiny
from made_up import tickets, write_log
from students.draft.answers import captured


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A store with a text task of a tiny teacher, and that teacher's checkpoint."""
    folder = tmp_path_factory.mktemp("desk")
    with (folder / "log.jsonl").open("w") as log:
        for each in captured(100):
            request = {
                "model": "tiny-teacher",
                "messages": [{"role": "user", "content": each.messages[0].text}],
            }
            message = {"role": "assistant", "content": each.answer}
            response = {
                "model": "tiny-teacher",
                "choices": [{"message": message, "finish_reason": "stop"}],
            }
            log.write(json.dumps({"request": request, "response": response}) + "\n")
    run("learn", "log.jsonl", cwd=folder)
    tiny.saved(folder / "target", "qwen2", tiny.byte_level(), num_hidden_layers=3)
    tiny.saved(folder / "other", "qwen2", tiny.byte_level("llama-bpe"))
    return folder


@pytest.mark.evidence
def test_a_draft_is_trained_measured_and_exported(desk):
    told = run(
        *("draft", "train", "where", "--target", "target", "--layers", 1, "--to", "draft"),
        *("--epochs", 3, "--learning-rate", 0.003, "--json"),
        cwd=desk,
    )
    made = json.loads(told.stdout)
    report = made["draft"]["report"]
    assert report["after"]["low"] > report["before"]["high"]
    assert "epoch 3" in told.stderr

    draft = AutoModelForCausalLM.from_pretrained(desk / "draft")
    assert draft.config.num_hidden_layers == 1
    written, given = (AutoTokenizer.from_pretrained(desk / each) for each in ("draft", "target"))
    assert written.get_vocab() == given.get_vocab()
    assert "vllm serve target --speculative-config" in (desk / "draft" / "README.md").read_text()
    lineage = json.loads((desk / "draft" / "lineage.json").read_text())
    assert lineage["taught_by"][0]["model"] == "tiny-teacher"

    measured = run(
        *("draft", "measure", "draft", "where", "--target", "target", "--json"), cwd=desk
    )
    found = json.loads(measured.stdout)["acceptance"]
    assert found["answers"] == 64
    assert found["length"] > 2
    here = run(
        *("draft", "measure", "draft", "where", "--target", "target", "--load-target"),
        *("--limit", 4, "--max-tokens", 20, "--temperature", 1.0, "--json"),
        cwd=desk,
    )
    assert 1 <= json.loads(here.stdout)["acceptance"]["length"] <= 6

    run("export", "draft", "--as", "gguf", "--to", "g", "--name", "desk draft", cwd=desk)
    assert (desk / "g" / "desk-draft-bf16.gguf").stat().st_size > 10_000


def test_the_targets_weights_are_not_needed_to_learn_from_answers(desk, tmp_path):
    tokenizer = tiny.byte_level()
    (tmp_path / "target").mkdir()
    tokenizer.save_pretrained(tmp_path / "target")
    (tmp_path / "target" / "config.json").write_text('{"model_type": "qwen2", "vocab_size": 640}')
    tiny.saved(tmp_path / "small", "qwen2", tokenizer)
    run(
        *("draft", "train", "where", "--target", tmp_path / "target", "--to", tmp_path / "draft"),
        *("--from", tmp_path / "small", "--epochs", 1, "--db", desk / "openwheel.db"),
        cwd=tmp_path,
    )
    config = json.loads((tmp_path / "draft" / "config.json").read_text())
    assert config["vocab_size"] == 640


def test_another_tokenizer_is_refused_in_a_sentence(desk):
    told = run(
        *("draft", "train", "where", "--target", "target", "--from", "other", "--to", "no"),
        cwd=desk,
        code=2,
    )
    assert "A draft must have its target's tokenizer; other has" in told.stderr
    assert not (desk / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("draft", "train", "where", "--target", "t", "--to", "n"), "--from a checkpoint or"),
        (
            ("draft", "train", "where", "--target", "target", "--to", "n", "--layers", 9),
            "fewer than all 3 layers",
        ),
        (
            (
                "draft",
                "train",
                "where",
                "--target",
                "target",
                "--to",
                "n",
                "--layers",
                1,
                "--model",
                "gpt",
            ),
            "has no answers of the model 'gpt'; it has those of log tiny-teacher",
        ),
        (("draft", "train", "nope", "--target", "t", "--to", "n", "--layers", 1), "nope"),
        (
            ("draft", "measure", "target", "where", "--target", "target", "--temperature", 1.0),
            "add --load-target",
        ),
        (("export", "nope", "--to", "n"), "There is no student 'nope'"),
        (("export", "target", "--to", "n", "--as", "exe"), "--as must be adapter, merged"),
        (("export", "target", "--to", "n"), "has no adapter to export"),
        (("export", "target", "--to", "n", "--as", "onnx"), "not as onnx"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(desk, arguments, says):
    told = run(*arguments, cwd=desk, code=2)
    assert says in told.stderr
    assert not (desk / "n").exists()


def test_a_students_id_is_enough(tmp_path):
    write_log(tmp_path / "log.jsonl", tickets(1_000))
    run("learn", "log.jsonl", "--rungs", "linear", cwd=tmp_path)
    (student,) = json.loads(run("students", "--json", cwd=tmp_path).stdout)["students"]
    told = run("export", student["student"][:6], "--to", "out", cwd=tmp_path, code=2)
    assert "Students of the rung linear hold no model that other software loads" in told.stderr


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
    for arguments in (
        ("export", "target", "--as", "gguf"),
        ("draft", "train", "where", "--target", "target", "--layers", 1),
    ):
        told = run(*arguments, "--to", tmp_path / "no", "--config", settings, cwd=desk, code=2)
        assert "MIT" in told.stderr
        assert not (tmp_path / "no").exists()
