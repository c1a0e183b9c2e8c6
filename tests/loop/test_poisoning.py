"""Attackers who hold 5% of the keys, through the whole loop; the benchmark has the numbers."""

import pytest

import poisoning


@pytest.mark.slow
def test_attackers_of_low_trust_teach_nothing_and_trusted_ones_would():
    calm, guarded, open_ = (poisoning.run(3, trust) for trust in (None, "low", "high"))
    assert calm.promoted
    assert guarded.promoted
    assert guarded == calm  # not one answer is another
    assert open_.kind_wrong > guarded.kind_wrong
    assert not open_.promoted or open_.wrong <= poisoning.EPSILON * open_.answered
