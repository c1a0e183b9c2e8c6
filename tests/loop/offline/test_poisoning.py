"""Attackers who hold 5% of the keys, through the whole loop; the benchmark has the numbers."""

import pytest

import poisoning


@pytest.mark.parametrize(
    ("exchanges", "fresh"),
    [(900, 200), pytest.param(2_400, 2_000, marks=pytest.mark.evidence)],
)
def test_attackers_of_low_trust_teach_nothing_and_trusted_ones_would(monkeypatch, exchanges, fresh):
    monkeypatch.setattr(poisoning, "EXCHANGES", exchanges)
    monkeypatch.setattr(poisoning, "FRESH", fresh)
    calm, guarded, open_ = (poisoning.run(3, trust) for trust in (None, "low", "high"))
    assert calm.promoted
    assert guarded.promoted
    assert guarded == calm  # not one answer is another
    # Trusted ones spoil the kind they attack: it is answered wrongly, or not at all any more.
    right, spoilt = (one.kind_answered - one.kind_wrong for one in (guarded, open_))
    assert spoilt < right
    assert not open_.promoted or open_.wrong <= poisoning.EPSILON * open_.answered
