"""Folders of weights are known by what lies in them, whatever they are called."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from openwheel.catalog import load_catalog
from openwheel.errors import PolicyError
from openwheel.settings import PolicySection, Settings
from openwheel.trust import Base, Lineage, Policy, recognise

GEMMA = {
    "model_type": "gemma3_text", "hidden_size": 640, "num_hidden_layers": 18,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
    "intermediate_size": 2048, "vocab_size": 262200,
}  # fmt: skip
R1 = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip
TINY = {
    "model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 100,
}  # fmt: skip
CATALOG = load_catalog([])


def folder(path, config, metadata=None, **files):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    save_file({"w": np.zeros(3, np.float32)}, path / "model.safetensors", metadata=metadata)
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text)
    return path


def policy(**models):
    return Policy.of(Settings(policy=PolicySection(models=models)))


def built_on(path):
    return Lineage(student="lm-1", task="t", rung="lm", base=Base(id=str(path), kind="lm"))


def test_gemmas_weights_are_known_in_a_folder_of_any_name(tmp_path):
    # Tokens were added to its vocabulary, as in fine-tuning; its card says another licence.
    path = folder(tmp_path / "ours", GEMMA, README_md="---\nlicense: apache-2.0\n---\n")
    terms = policy().terms_of_base(str(path))
    assert terms.names == ("LicenseRef-Gemma",)
    assert terms.told_by == "configuration"
    decision = policy().may_export(built_on(path))
    assert decision.allowed
    notices = [one.text for one in decision.conditions if one.about == "notice"]
    assert notices == [
        "Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms"
    ]


def test_all_licences_of_those_that_look_alike_apply_unless_the_files_name_one(tmp_path):
    found = recognise(folder(tmp_path / "a", R1), CATALOG)
    assert {row.licence for row in found.rows} == {"MIT", "LicenseRef-Llama-3.1"}
    card = "---\nlicense: mit\nbase_model:\n- deepseek-ai/DeepSeek-R1-Distill-Llama-8B\n---\n"
    found = recognise(folder(tmp_path / "b", R1, README_md=card), CATALOG)
    (row,) = found.rows
    assert row.id == "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"
    assert {licence.id for licence in CATALOG.licences_of(row)} == {"MIT", "LicenseRef-Llama-3.1"}
    found = recognise(
        folder(tmp_path / "c", R1, README_md="---\nlicense: llama3.1\n---\n"), CATALOG
    )
    assert {row.licence for row in found.rows} == {"LicenseRef-Llama-3.1"}


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"LICENSE": "Apache License\n  Version 2.0, January 2004\n"}, "Apache-2.0"),
        ({"LICENSE_txt": "Copyright\n\nPermission is hereby granted, free of charge, to"}, "MIT"),
        ({"LICENSE": "LLAMA 3.1 ... Llama 3.1 Community License\nAgreement, July"},
         "LicenseRef-Llama-3.1"),
        ({"README_md": "---\nlicense: gemma\n---\n# A model"}, "LicenseRef-Gemma"),
        ({"metadata": {"license": "MIT"}}, "MIT"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_catalogue_is_under_what_its_files_say(tmp_path, files, licence):
    path = folder(tmp_path / "gemma-3-270m", TINY, **files)
    assert recognise(path, CATALOG).licence == licence
    terms = policy().terms_of_base(str(path))
    assert (terms.names, terms.told_by) == ((licence,), "files")


def test_a_base_that_is_named_as_its_source(tmp_path):
    card = "---\nbase_model: google/gemma-3-270m\n---\n"
    found = recognise(folder(tmp_path / "m", TINY, README_md=card), CATALOG)
    assert [row.id for row in found.rows] == ["google/gemma-3-270m"]


def test_what_nothing_tells_is_asked_for_before_it_goes_further(tmp_path):
    path = folder(tmp_path / "gemma-3-270m", TINY)  # the name tells nothing
    assert policy().terms_of_base(str(path)).told_by == "nothing"
    training = policy().may_train(str(path))
    assert training.allowed
    (warning,) = training.warnings
    assert "its licence is not known; other weights of its architecture gemma3_text" in warning
    assert f"[policy.models] in openwheel.toml: '{path}' =" in warning
    for decision in (policy().may_promote(built_on(path)), policy().may_export(built_on(path))):
        with pytest.raises(PolicyError, match=r"\[policy.models\]"):
            decision.require()
    for word in ("Apache-2.0", "LicenseRef-ours", "google/gemma-3-270m"):
        said = policy(**{str(path): word})
        assert said.may_promote(built_on(path)).allowed
        assert said.may_export(built_on(path)).allowed


def test_the_users_word_comes_before_what_lies_there(tmp_path):
    path = folder(tmp_path / "m", GEMMA)
    assert policy(**{str(path): "Apache-2.0"}).terms_of_base(str(path)).names == ("Apache-2.0",)


def test_a_student_whose_base_is_gone_keeps_what_was_known(tmp_path):
    base = Base(id=str(tmp_path / "gone"), kind="lm", licences=("LicenseRef-Gemma",))
    kept = Lineage(student="lm-1", task="t", rung="lm", base=base)
    assert policy().may_promote(kept).allowed
