import msgspec
import pytest

from catalog.fit.configs import LLAMA_3_8B, MIXTRAL, QWEN3_8B
from openwheel.catalog.fit import Device, Wish, expected_rate, from_config, judge, precision
from openwheel.catalog.fit.ranking import judge_rows
from openwheel.catalog.fit.verdict import memory_needed
from openwheel.catalog.rows import Checkpoint, Quality, Shape

L4 = Device(
    kind="cuda", index=0, name="L4", memory=24 << 30, free=22 << 30, bandwidth=300e9, flops=121e12
)
CPU = Device(kind="cpu", index=0, name="CPU", memory=8 << 30, free=6 << 30, bandwidth=2e10)
LLAMA = from_config(LLAMA_3_8B)


def test_the_best_precision_that_fits_is_taken():
    assert judge(LLAMA, L4, Wish()).precision == "bf16"
    small = msgspec.structs.replace(L4, free=12 << 30)
    assert judge(LLAMA, small, Wish()).precision == "fp8"
    assert judge(LLAMA, CPU, Wish()).precision == "int4"


def test_says_why_nothing_fits():
    found = judge(LLAMA, msgspec.structs.replace(CPU, free=2 << 30), Wish())
    assert not found.fits
    assert found.needed > found.free
    assert "GB at int4, weights alone" in found.reason
    assert "2.1 GB free" in found.reason


def test_the_longest_context_is_the_last_that_fits():
    roomy = msgspec.structs.replace(LLAMA, context=1 << 20)
    found = judge(roomy, L4, Wish())
    bf16 = precision("bf16")
    assert memory_needed(roomy, L4, Wish(context=found.longest), bf16) <= L4.free
    assert memory_needed(roomy, L4, Wish(context=found.longest + 512), bf16) > L4.free
    assert judge(LLAMA, L4, Wish()).longest == 8192  # what its config allows


def test_more_at_once_leaves_less_context_and_answers_more():
    roomy = msgspec.structs.replace(LLAMA, context=1 << 20)
    one, eight = judge(roomy, L4, Wish(context=512)), judge(roomy, L4, Wish(context=512, batch=8))
    assert eight.longest < one.longest
    assert eight.rate.decode > 4 * one.rate.decode


def test_training_needs_more_than_serving():
    assert judge(LLAMA, L4, Wish(purpose="train", context=2048)).needed > (
        judge(LLAMA, L4, Wish(context=2048)).needed
    )
    assert not judge(LLAMA, CPU, Wish(purpose="train")).fits


def test_decoding_reads_active_weights_once_a_step():
    bf16 = precision("bf16")
    rate = expected_rate(LLAMA, bf16, bandwidth=300e9, flops=None, context=4)
    assert rate.decode == pytest.approx(300e9 / (2 * LLAMA.active), rel=0.01)
    assert rate.prefill is None
    mixture = from_config(MIXTRAL)
    one = expected_rate(mixture, bf16, bandwidth=300e9, flops=None, context=4)
    assert one.decode == pytest.approx(300e9 / (2 * mixture.active), rel=0.01)
    many = expected_rate(mixture, bf16, bandwidth=300e9, flops=None, context=4, batch=64)
    every_expert = 2 * (mixture.parameters - mixture.hidden * mixture.vocab)
    assert many.decode == pytest.approx(64 * 300e9 / every_expert, rel=0.01)


def test_arithmetic_bounds_what_memory_would_allow():
    rate = expected_rate(LLAMA, precision("int4"), bandwidth=1e15, flops=1e12, context=1024)
    assert rate.bound == "arithmetic"
    assert rate.decode == pytest.approx(1e12 / (2 * LLAMA.active))
    assert rate.prefill == pytest.approx(1e12 / (2 * LLAMA.active), rel=0.1)
    unknown = expected_rate(LLAMA, precision("bf16"), bandwidth=None, flops=None, context=64)
    assert unknown.decode is None


def row(name, billions, *scores, **more):
    quality = tuple(
        Quality(benchmark=benchmark, value=value, source="card", confidence="B")
        for benchmark, value in scores
    )
    return Checkpoint(
        id=name,
        organisation="Org",
        country="FR",
        family="F",
        licence="MIT",
        model_type="llama",
        total_parameters=billions,
        quality=quality,
        confidence="B",
        source="here",
        **more,
    )


def test_rows_are_ordered_by_evidence_then_by_cost():
    shape = Shape(
        layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, vocab=1000, intermediate=128,
        confidence="B", source="here",
    )  # fmt: skip
    rows = [
        row("huge", 900.0, ("MMLU", 99.0)),
        row("unscored", 2.0),
        row("cheap", 0.5, shape=shape),
        row("other-test", 1.0, ("GPQA", 90.0)),
        row("good", 3.0, ("MMLU", 70.0)),
        row("fair", 1.5, ("MMLU", 60.0), shape=shape),
        row("encoder", 0.1, kind="encoder"),
        row("sizeless", None),
    ]
    found, benchmark, unknown = judge_rows(rows, [L4, CPU], Wish())
    order = [fit.id for fit in found]
    assert order == ["good", "fair", "cheap", "other-test", "unscored", "huge"]
    assert benchmark == "MMLU"
    assert unknown == ["sizeless"]
    assert [fit.verdict.fits for fit in found] == [True] * 5 + [False]
    assert "weights alone" in found[0].verdict.approximate
    assert judge_rows(rows, [L4], Wish(), benchmark="gpqa")[0][0].id == "other-test"


def test_unequal_precisions_are_asked_for_by_name():
    wish = Wish(precisions=(precision("fp32"),))
    assert not judge(from_config(QWEN3_8B), L4, wish).fits
