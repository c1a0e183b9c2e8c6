import pytest

from openwheel.loop.settings import LoopSettings
from openwheel.settings import TaskSection


@pytest.mark.parametrize(
    ("epsilon", "floor", "own", "worst"),
    [
        (0.05, 6.0, None, 0.3),
        (0.01, 6.0, None, 0.06),
        (0.2, 6.0, None, 0.5),  # never an answer that is more likely wrong than right
        (0.05, 0.0, None, 1.0),
        (0.05, 6.0, 2.0, 0.1),
        (0.05, 6.0, 0.0, 1.0),
    ],
)
def test_how_likely_wrong_an_answer_may_be(epsilon, floor, own, worst):
    settings = LoopSettings(epsilon=epsilon, floor=floor, tasks={"one": TaskSection(floor=own)})
    assert settings.worst("one") == pytest.approx(worst)
