"""Parts of some work begin before earlier ones end, and nothing of two runs at once."""

import pytest

from openwheel.errors import ModelError
from openwheel.executors import Needs, after_earlier, away, in_order


class Number:
    """A computation whose result is a number that its folder holds."""

    module = "nothing"
    needs = Needs()

    def __init__(self, name, number, *, only_here=False):
        self.name = name
        self.number = number
        self.only_here = only_here

    def here(self):
        return self.number

    def place(self, folder):
        (folder / "number").write_text(str(self.number))
        return not self.only_here

    def read(self, folder):
        return int((folder / "number").read_text())


class Session:
    """Notes what it is told, and fails at some."""

    def __init__(self, at_once, said, *, fails_at=()):
        self.at_once = at_once
        self.said = said
        self.fails_at = fails_at
        self.names = {}

    def start(self, computation, folder):
        self.names[folder] = computation.name
        self.said.append(f"start {computation.name}")

    def wait(self, folder):
        if self.names[folder] in self.fails_at:
            raise ModelError(f"{self.names[folder]} failed")
        self.said.append(f"wait {self.names[folder]}")

    def drop(self, folder):
        assert folder.exists()
        self.said.append(f"drop {self.names[folder]}")


def part(name, said, **options):
    said.append(f"begin {name}")
    try:
        got = yield from away(Number(name, 7, **options))
    except ModelError as error:
        got = str(error)
    finally:
        said.append(f"end {name}")
    return name, got


def test_parts_begin_ahead_and_end_in_their_order():
    said = []
    found = list(in_order((part(name, said) for name in "abc"), Session(2, said)))
    assert found == [("a", 7), ("b", 7), ("c", 7)]
    assert said == [
        *("begin a", "start a", "begin b", "start b"),
        *("wait a", "end a", "drop a", "begin c", "start c"),
        *("wait b", "end b", "drop b", "wait c", "end c", "drop c"),
    ]


def test_without_a_session_they_come_one_after_the_other():
    said = []
    assert list(in_order((part(name, said) for name in "ab"), None)) == [("a", 7), ("b", 7)]
    assert said == ["begin a", "end a", "begin b", "end b"]


def test_what_is_computed_here_waits_for_earlier_parts():
    said = []

    def late():
        said.append("late begins")
        yield from after_earlier()
        said.append("late goes on")
        return "late", 0

    def parts():
        yield part("a", said)
        yield late()
        yield part("c", said, only_here=True)

    assert list(in_order(parts(), Session(3, said))) == [("a", 7), ("late", 0), ("c", 7)]
    assert said.index("late begins") < said.index("end a") < said.index("late goes on")
    assert "start c" not in said


def test_a_computation_that_fails_is_its_parts_matter():
    said = []
    session = Session(2, said, fails_at={"a"})
    found = list(in_order((part(name, said) for name in "ab"), session))
    assert found == [("a", "a failed"), ("b", 7)]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError])
def test_where_one_raises_what_others_wait_for_is_stopped(problem):
    said = []

    def bad():
        yield from away(Number("bad", 1))
        raise problem

    def parts():
        yield bad()
        yield part("b", said)

    with pytest.raises(problem):
        list(in_order(parts(), Session(2, said)))
    assert said[-2:] == ["end b", "drop b"]


def test_one_that_raises_at_once_is_raised_after_earlier_parts_have_ended():
    said = []

    def bad():
        said.append("bad")
        raise ValueError("bad")
        yield

    def parts():
        yield part("a", said)
        yield bad()
        yield part("c", said)

    taking = in_order(parts(), Session(3, said))
    assert next(taking) == ("a", 7)
    with pytest.raises(ValueError, match="bad"):
        next(taking)
    assert "begin c" not in said


def test_a_computation_that_cannot_be_sent_is_its_parts_matter():
    class Unsendable(Number):
        def place(self, _):
            raise MemoryError

    def careful():
        try:
            yield from away(Unsendable("a", 1))
        except MemoryError:
            return "short"

    assert list(in_order([careful()], Session(1, []))) == ["short"]
