from collections.abc import Callable

import numpy as np
import pytest

from openwheel.gate.monitors import ConfidenceSequence, EDetector, EProcess, JumpDetector

from .contract import ANSWERS, CHECKS, Subject


def learned():
    """A jump detector that has its baseline: one in fifty."""
    return JumpDetector(20_000).update([1.0, *[0.0] * 49] * 4)


SUBJECTS = [
    Subject("e-process", lambda: EProcess(0.05, 0.05), 0.05, 0.05, True),
    Subject("e-process, other limits", lambda: EProcess(0.2, 0.1), 0.2, 0.1, True),
    Subject("e-detector", lambda: EDetector(0.05, 4_000), 0.05, ANSWERS / 4_000, True),
    Subject("confidence sequence", lambda: ConfidenceSequence(0.05), 0.05, 0.05, False),
    Subject(
        "weighted confidence sequence",
        lambda: ConfidenceSequence(0.05, weighted=True),
        0.05,
        0.05,
        True,
    ),
    Subject("jump detector", learned, 0.05, ANSWERS / 20_000, False),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__.removeprefix("check_"))
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_monitor(subject: Subject, check: Callable[[Subject], None]) -> None:
    check(subject)


def test_the_contract_notices_a_bettor_who_bets_too_much():
    """A limit that is half of what the losses show is a broken promise."""
    broken = Subject("broken", lambda: EProcess(0.025, 0.05), 0.05, 0.05, True)
    with pytest.raises(AssertionError):
        CHECKS[-1](broken)


def test_a_batch_may_be_an_array_of_integers():
    assert EProcess(0.05, 0.05).update(np.array([0, 1, 0])).seen.loss == 1
