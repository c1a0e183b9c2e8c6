import math

import numpy as np
import pytest

from openwheel.inference.writer import Written
from openwheel.students.lm.confidence import evidence
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


def test_an_answer_cut_off_or_out_of_its_form_is_none():
    assert usable(written(-0.1), "label")
    assert not usable(written(-0.1, finish="length"), "label")
    assert not usable(written(-0.1, text=" \n"), "text")
    assert usable(written(-0.1, text='{"a": 1}'), "record")
    assert not usable(written(-0.1, text='{"a": 1'), "record")
