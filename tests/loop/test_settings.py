import pytest

from openwheel.errors import SettingError
from openwheel.loop.settings import LoopSettings
from openwheel.machine import processors
from openwheel.settings import LmSection, TaskSection
from openwheel.students.lm.order import threads_of


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


def test_training_leaves_a_core_to_a_gateway_and_takes_all_of_them_without_one():
    cores = max(1, int(processors()))
    assert threads_of(LmSection()) == cores
    assert threads_of(LoopSettings().beside_gateway().lm) == max(1, cores - 1)
    own = LoopSettings(lm=LmSection(threads=7))
    assert threads_of(own.lm) == threads_of(own.beside_gateway().lm) == 7


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (TaskSection(fields={"a": ("fence",)}), r"tasks\.t: fields\.a must be of ignore, set, .*"),
        (TaskSection(fields={"a.": ()}), r"tasks\.t: fields must name .*; one was 'a\.'"),
        (TaskSection(loss="fields", compare="rouge:0.7"), r"tasks\.t: .*compares whole ones"),
        (TaskSection(fields={"a": ("set",)}, compare="order"), r"'order' compares whole ones"),
    ],
)
def test_how_fields_are_compared_is_checked_with_the_settings(task, said):
    with pytest.raises(SettingError, match=said):
        LoopSettings(tasks={"t": task}).checked()
    assert LoopSettings(tasks={"t": TaskSection(loss="fields", compare="exact")}).checked()
