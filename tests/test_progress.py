import pytest

from openwheel.progress import Step, each, lasting, silent


class Told(list):
    def __call__(self, said, done=None, total=None, unit="", /):
        self.append((said, done, total, unit))


def test_a_step_begins_and_ends_however_its_block_ends():
    told = Told()

    def work():
        with Step(told, "training", 10, "steps") as step:
            step(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert (told[0], told[-1]) == (("training", 0, 10, "steps"), ("training", 4, 4, "steps"))


def test_a_step_is_told_of_now_and_then_whatever_it_is_asked():
    told = Told()
    with Step(told, "reading", unit="exchanges") as step:
        for number in range(100_000):
            step(number)
    assert len(told) < 1_000
    assert told[-1] == ("reading", 99_999, 99_999, "exchanges")


def test_items_are_counted_by_their_size():
    told = Told()
    items = ["a", "bcd"]
    assert list(each(told, "learning", items, "letters", total=4, size=len)) == items
    assert told == [("learning", 0, 4, "letters"), ("learning", 4, 4, "letters")]
    assert list(each(silent, "nothing", [], "letters")) == []


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "1 s"), (119, "119 s"), (121, "2 min"), (5400, "1.5 h")]
)
def test_how_long_something_lasts(seconds, said):
    assert lasting(seconds) == said
