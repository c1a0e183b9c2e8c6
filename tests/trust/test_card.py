import msgspec
import pytest
import yaml

from openwheel.settings import PolicySection, Settings, TeacherSection
from openwheel.trust import (
    Base,
    Certified,
    DataWindow,
    LeftOut,
    Lineage,
    Policy,
    TaughtBy,
    licence_summary,
    model_card,
)

WINDOW = DataWindow(1_200, 1, 1_300, 1_790_000_000.0, 1_790_864_000.0, "ab" * 32)


def made_of(base, *models, **fields):
    """Return a lineage with the conditions that its licences have."""
    policy = Policy.of(Settings(policy=PolicySection(), teachers=(TeacherSection(url="http://g"),)))
    decisions = [policy.may_learn_from("g", model) for model in models]
    if base is not None:
        terms = policy.terms_of_base(base)
        decisions.append(policy.may_train(base))
        base = Base(id=base, kind="lm", revision="c" * 40, licences=terms.names)
    return Lineage(
        student="lm-1",
        task="t1",
        task_name="route: a 'ticket'",
        rung="lm",
        base=base,
        taught_by=tuple(
            TaughtBy(teacher="g", model=m, exchanges=600, licences=policy.terms_of("g", m).names)
            for m in models
        ),
        training=WINDOW,
        decisions=tuple(decisions),
        conditions=tuple(dict.fromkeys(c for d in decisions for c in d.conditions)),
        **fields,
    )


def front_matter(card):
    start, matter, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter)


@pytest.mark.parametrize(
    ("base", "teacher", "expected"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B", {"license": "apache-2.0"}),
        ("Qwen/Qwen3-0.6B", "gpt-9", {"license": "apache-2.0"}),
        ("meta-llama/Llama-3.2-1B", "qwen3:8b", {"license": "llama3.2"}),
        (None, "meta-llama/Llama-3.2-1B", {"license": "llama3.2"}),
        (None, "qwen3:8b", {}),
        (
            "Qwen/Qwen3-0.6B",
            "meta-llama/Llama-3.2-1B",
            {"license": "other", "license_name": "Apache-2.0 and LicenseRef-Llama-3.2"},
        ),
    ],
)
def test_the_front_matter_is_what_the_hub_reads(base, teacher, expected):
    found = front_matter(model_card(made_of(base, teacher)))
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected
    assert "openwheel" in found["tags"]
    if base is None:
        assert "base_model" not in found
    else:
        assert found["base_model"] == base
        assert found["base_model_relation"] == "adapter"
        assert found["library_name"] == "peft"


def test_the_card_says_what_the_lineage_holds():
    certificate = Certified(
        id="d" * 64,
        statement="On traffic like that.",
        epsilon=0.05,
        delta=0.05,
        coverage=0.9,
        bound=0.04,
        threshold=0.8,
        calibration_sha256="e" * 64,
        created="2026-11-22T00:00:00+00:00",
    )
    lineage = made_of(
        "meta-llama/Llama-3.2-1B",
        "qwen3:8b",
        certificates=(certificate,),
        left_out=(LeftOut("g", "hunyuan-7b", 40, "it may not be learned from"),),
        overrides={"LicenseRef-x": "contract 123"},
        files={"student.json": "f" * 64},
    )
    card = model_card(lineage)
    for said in (
        "route: a 'ticket'",
        "meta-llama/Llama-3.2-1B at `" + "c" * 40,
        "600 of teacher g, model qwen3:8b; Apache-2.0",
        "1,200 exchanges, from 2026-09-21 to 2026-10-01",
        "40 answers of g hunyuan-7b: it may not be learned from",
        "The name begins with 'Llama'",
        "Built with Llama",
        "coverage 90.0%, disagreement at most 4.00% (limit 5.00%, risk 5.00%)",
        "contract 123",
        "f" * 64,
    ):
        assert said in card


def test_a_lineage_is_the_same_after_json_and_its_digest_is_of_the_training():
    lineage = made_of("Qwen/Qwen3-0.6B", "qwen3:8b")
    back = msgspec.json.decode(msgspec.json.encode(lineage), type=Lineage)
    assert back == lineage
    later = msgspec.structs.replace(lineage, task_name="other", files={"a": "b"})
    assert later.digest() == lineage.digest()
    other = msgspec.structs.replace(lineage, taught_by=())
    assert other.digest() != lineage.digest()


def test_the_summary_has_a_line_for_each():
    lineage = made_of("Qwen/Qwen3-0.6B", "qwen3:8b", "gpt-9", overrides={"MIT": "why not"})
    assert licence_summary(lineage) == (
        "base Qwen/Qwen3-0.6B: Apache-2.0",
        "teacher g qwen3:8b: Apache-2.0, 600 exchanges",
        "teacher g gpt-9: licence not known, 600 exchanges",
        "override MIT: why not",
    )


def test_what_was_not_kept_is_said():
    card = model_card(Lineage(student="s", task="t", rung="linear", complete=False))
    assert "was not kept" in card
    assert front_matter(card)["tags"]
