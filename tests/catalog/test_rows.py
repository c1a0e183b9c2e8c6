"""The rows that ship: each can be relied on to say what it says, and where that is from."""

import datetime
import re

import pytest

from openwheel.catalog import load_catalog

CATALOG = load_catalog()


def ids(rows):
    return [getattr(row, "id", None) or row.model_type for row in rows]


def weights(shape) -> float:
    """Count the weights of an ordinary transformer, in billions; norms and biases left out."""
    attention = 2 * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
    dense = shape.dense_layers if shape.experts else shape.layers
    experts = (shape.experts + shape.shared_experts) * shape.expert_intermediate
    mlps = 3 * shape.hidden * (dense * shape.intermediate + (shape.layers - dense) * experts)
    embeddings = shape.vocab * shape.hidden * (1 if shape.tied_embeddings else 2)
    return (shape.layers * attention + mlps + embeddings) / 1e9


def test_there_is_much_to_choose_from():
    assert len(CATALOG.checkpoints) > 150
    organisations = {row.organisation for row in CATALOG.checkpoints}
    assert {"Alibaba", "DeepSeek", "Moonshot AI", "Tencent", "MiniMax", "Z.ai"} <= organisations
    assert {"Meta", "Mistral AI", "OpenAI", "Google", "IBM", "Microsoft"} <= organisations
    small = [r for r in CATALOG.checkpoints if r.kind == "lm" and (r.total_parameters or 9) < 1.3]
    assert len(small) > 20


@pytest.mark.parametrize("row", CATALOG.checkpoints, ids=ids(CATALOG.checkpoints))
def test_every_checkpoint_has_a_licence_a_family_a_date_and_a_source(row):
    assert CATALOG.licences_of(row)
    assert CATALOG.family(row.model_type) is not None
    if row.released:
        year, month, day = (*map(int, row.released.split("-")), 1, 1)[:3]
        released = datetime.date(year, month, day)
        assert datetime.date(2019, 1, 1) < released < datetime.date(2027, 1, 1)
    if row.context and row.context_extended:
        assert row.context < row.context_extended
    unknown = row.licence == "LicenseRef-unknown"
    assert unknown == (row.confidence == "?"), "an unknown licence is ?, and only that"


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in CATALOG.checkpoints
        # Others are not ordinary transformers, or have a vision part beside the shape's.
        if row.shape
        and row.kind == "lm"
        and not row.shape.latent
        and row.shape.cached_layers is None
        and CATALOG.family(row.model_type).title not in {"Gemma 3, multimodal", "Llama 4"}
    ],
    ids=lambda row: row.id,
)
def test_a_shape_counts_to_the_published_number_of_weights(row):
    assert weights(row.shape) == pytest.approx(row.total_parameters, rel=0.035)


@pytest.mark.parametrize("row", CATALOG.licences, ids=ids(CATALOG.licences))
def test_a_licence_that_asks_for_something_has_the_clause(row):
    spdx_or_own = not row.id.startswith("LicenseRef-")
    assert spdx_or_own == (row.id in {"Apache-2.0", "MIT"})
    if row.outputs_may_train in {"no", "conditional"} and row.id != "LicenseRef-Gemma":
        assert row.clause("outputs") or row.clause("revenue")
    if row.excluded_regions:
        assert row.clause("regions")
    if row.non_commercial:
        assert row.commercial == "no"
        assert row.clause("commercial")
    for clause in row.clauses:
        words = re.sub(r"\[.*\]", "", clause.text)
        assert words or clause.confidence != "?"


@pytest.mark.parametrize("family", CATALOG.families, ids=ids(CATALOG.families))
def test_no_family_names_a_router_as_a_target(family):
    targets = {*family.attention_targets, *family.mlp_targets, *family.expert_targets}
    assert not targets & set(family.routers)
    assert "all-linear" not in targets
    if family.native:
        assert family.attention_targets
    else:
        assert family.reason
    if family.loads_as:
        loaded = CATALOG.family(family.loads_as)
        assert loaded.native == family.native
        assert loaded.attention_targets == family.attention_targets


@pytest.mark.parametrize(
    ("checkpoint", "verdict"),
    [
        ("Qwen/Qwen3-8B", "yes"),
        ("deepseek-ai/DeepSeek-R1", "yes"),
        ("tencent/Hunyuan-A13B-Instruct", "no"),
        ("tencent/Hy3", "yes"),
        ("mistralai/Mistral-Large-Instruct-2411", "no"),
        ("meta-llama/Llama-3.2-1B", "conditional"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "conditional"),  # Llama's terms come along
        ("google/gemma-3-1b-it", "conditional"),
        ("google/gemma-4-31B-it", "yes"),
        ("moonshotai/Kimi-K3", "unknown"),
    ],
)
def test_terms_are_those_of_the_checkpoint_not_of_its_family(checkpoint, verdict):
    assert CATALOG.may_train_others(CATALOG.find(checkpoint)) == verdict


def test_what_the_llama_licence_asks_for_is_there_word_for_word():
    licence = CATALOG.licence("licenseref-llama-3.2")
    assert licence.derivative_name == "Llama"
    assert licence.notice == "Built with Llama"
    assert "at the beginning of any such AI model name" in licence.clause("outputs")
    assert [(t.measure, t.above) for t in licence.thresholds] == [("monthly_users", 700_000_000)]
