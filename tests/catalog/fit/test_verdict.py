"""Verdicts: what fits, at which precision, how long, how fast."""

import pytest

from openwheel.catalog import load_catalog
from openwheel.catalog.configs import shape_of
from openwheel.catalog.fit import Device, Weights, Wish, judge, judge_rows

SHAPE = shape_of(
    {
        "hidden_size": 1024, "num_hidden_layers": 10, "num_attention_heads": 16,
        "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 1000,
    }
)  # fmt: skip
MODEL = Weights(
    parameters=10**9, active=10**9, tables=10**8, shape=SHAPE, context=8192, stored=2 * 10**9
)


def cpu(free: float, **changes: float) -> Device:
    memory = int(free * 1e9)
    return Device(kind="cpu", name="a processor", memory=memory, free=memory, **changes)


@pytest.mark.parametrize(
    ("free", "fits", "precision"),
    [(3, True, "bf16"), (1.5, True, "int8"), (0.9, True, "int4"), (0.3, False, "int4")],
)
def test_the_best_precision_that_fits_is_taken(free, fits, precision):
    found = judge(MODEL, cpu(free), Wish(context=1024))
    assert (found.fits, found.precision) == (fits, precision)
    assert found.fits is (found.needed <= found.free)
    assert bool(found.reason) is not fits


def test_a_precision_that_is_asked_for_is_the_only_one():
    found = judge(MODEL, cpu(3), Wish(precision="fp32"))
    assert not found.fits
    assert "4.1 GB at fp32, weights alone 4.0; 3.0 GB free" in found.reason


def test_the_longest_context_takes_what_is_free():
    wish = Wish(context=512, precision="bf16")
    found = judge(MODEL, cpu(2.15), wish)
    assert 512 < found.longest < 8192
    longer = judge(MODEL, cpu(2.15), Wish(context=found.longest, precision="bf16"))
    too_long = judge(MODEL, cpu(2.15), Wish(context=found.longest + 1, precision="bf16"))
    assert (longer.fits, too_long.fits) == (True, False)
    assert judge(MODEL, cpu(9), wish).longest == 8192
    assert judge(MODEL, cpu(9), Wish(context=10_000)).longest == 8192


def test_speed_is_bandwidth_over_what_is_read():
    wish = Wish(context=1000, precision="bf16")
    device = cpu(9, bandwidth=20e9, flops=40e9)
    found = judge(MODEL, device, wish)
    assert found.decode == pytest.approx(20e9 / (2e9 + 1000 * 10 * 512 * 2))
    assert found.prefill == pytest.approx(20)
    sparse = Weights(parameters=10**9, active=10**8, shape=SHAPE)
    assert judge(sparse, device, wish).decode > 9 * found.decode
    assert judge(MODEL, cpu(9), wish).decode is None


def test_what_is_not_known_is_said():
    bare = Weights(parameters=10**9, active=10**9)
    assert "shape is not known" in judge(bare, cpu(9), Wish()).left_out
    training = judge(MODEL, cpu(9), Wish(purpose="train"))
    assert training.precision == "fp32"
    assert "a step is measured" in training.left_out
    stored = Weights(parameters=10**9, active=10**9, shape=SHAPE, stored=6 * 10**8, fixed=True)
    assert judge(stored, cpu(2), Wish()).precision == "as stored"


def test_the_catalogue_in_order():
    rows = load_catalog([]).checkpoints
    card = Device(kind="cuda", name="a card", memory=24 * 10**9, free=24 * 10**9, bandwidth=3e11)
    fits, benchmark, unknown = judge_rows(rows, [card, cpu(8)], Wish())
    assert benchmark
    assert {fit.id for fit in fits} | {*unknown} == {row.id for row in rows if row.kind == "lm"}
    fitting = [fit for fit in fits if fit.verdict.fits]
    assert fits[: len(fitting)] == fitting
    scores = [fit.quality.value for fit in fitting if fit.quality]
    assert scores == sorted(scores, reverse=True)
    rest = [fit.active for fit in fitting if not fit.quality]
    assert rest == sorted(rest)
    by_id = {fit.id: fit.verdict for fit in fits}
    assert by_id["Qwen/Qwen3-8B"].device == "a card"
    assert by_id["Qwen/Qwen3-8B"].precision == "bf16"
    assert not by_id["deepseek-ai/DeepSeek-R1"].fits
