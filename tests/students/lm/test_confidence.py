import math

import numpy as np
import pytest

from openwheel.inference.writer import Written
from openwheel.students.lm.confidence import cross_fitted, evidence, fit_confidence
from openwheel.students.lm.student import usable


def written(*logprobs: float, text: str = "red", finish: str = "stop") -> Written:
    return Written(
        text=text,
        finish=finish,
        logprobs=logprobs,
        margins=tuple(p + 1 for p in logprobs),
        prompt_tokens=1,
        completion_tokens=len(logprobs),
    )


def test_evidence_is_of_the_whole_answer_its_weakest_token_and_its_length():
    (row,) = evidence([written(-0.1, -2.0)])
    assert row == pytest.approx([-2.1, -1.0, -1.05, -2.0, math.log(3)])
    (none,) = evidence([written()])
    assert not none.any()
    (lost,) = evidence([written(-math.inf, -1.0)])
    assert np.isfinite(lost).all()


def test_confidence_follows_what_tells_right_from_wrong():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(2000, 5))
    chance = 1 / (1 + np.exp(-(2 * features[:, 1] - features[:, 3])))
    agrees = (draw.random(2000) < chance).astype(float)
    model = fit_confidence(features[:1000], agrees[:1000])
    found = model.confidence(features[1000:])
    assert np.abs(found - chance[1000:]).mean() < 0.05
    # Calibrated: of those at 80%, about 80% agree.
    near = (found > 0.7) & (found < 0.9)
    assert agrees[1000:][near].mean() == pytest.approx(found[near].mean(), abs=0.07)


def test_agreement_may_be_a_matter_of_degree():
    features = np.column_stack((np.zeros(400), np.repeat([0.0, 1.0], 200), np.zeros((400, 3))))
    agreement = np.repeat([0.3, 0.8], 200)
    found = fit_confidence(features, agreement).confidence(features[[0, 399]])
    assert found == pytest.approx([0.3, 0.8], abs=0.02)


def test_coin_flips_give_no_confidence_to_rank_by():
    draw = np.random.default_rng(1)
    features = draw.normal(size=(200, 5))
    agrees = (draw.random(200) < 0.5).astype(float)
    confidence = cross_fitted(features, agrees, np.arange(200) % 5)
    surest = np.argsort(-confidence)[:50]
    assert abs(agrees[surest].mean() - agrees.mean()) < 0.17


@pytest.mark.parametrize(("agreement", "side"), [(1.0, True), (0.0, False)])
def test_where_all_agree_or_none_does_the_margin_ranks(agreement, side):
    features = np.random.default_rng(2).normal(size=(50, 5))
    found = fit_confidence(features, np.full(50, agreement)).confidence(features)
    assert ((found > 0.5) == side).all()
    assert (np.diff(found[np.argsort(features[:, 1])]) >= 0).all()
    assert fit_confidence(features[:0], np.zeros(0)).confidence(features[:1])[0] < 0.1


def test_an_answer_cut_off_or_out_of_its_form_is_none():
    assert usable(written(-0.1), "label")
    assert not usable(written(-0.1, finish="length"), "label")
    assert not usable(written(-0.1, text=" \n"), "text")
    assert usable(written(-0.1, text='{"a": 1}'), "record")
    assert not usable(written(-0.1, text='{"a": 1'), "record")
