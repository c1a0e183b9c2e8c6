"""How long the upstream was not heard, whatever is done to the clocks."""

import math
from pathlib import Path

import pytest

from openwheel.edge.heard import SKEW_S, Heard, MachineClocks, Now
from openwheel.store import Store


class Clocks:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.wall, self.ticks, self.boot = 1_000_000.0, 500.0, "first"

    def __call__(self) -> Now:
        return Now(self.wall, self.ticks, self.boot)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds

    def restart(self, *, away: float, boot: str = "second") -> None:
        """Start the machine again after some seconds by its wall clock."""
        self.wall, self.ticks, self.boot = self.wall + away, 3.0, boot


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "edge.db") as opened:
        yield opened


def heard(store: Store, clocks: Clocks, since: float = 1_000_000.0) -> Heard:
    return Heard(store, since=since, now=clocks)


def test_seconds_count_from_the_last_word(store, clocks):
    found = heard(store, clocks)
    clocks.pass_by(100)
    assert found.seconds == 100
    found.hear()
    assert found.seconds == 0
    clocks.pass_by(7)
    found.tick()
    clocks.pass_by(7)
    assert found.seconds == 14


def test_before_the_first_word_the_age_of_the_bundle_counts(store, clocks):
    assert heard(store, clocks, since=1_000_000.0 - 3_600).seconds == 3_600


def test_a_clock_that_is_behind_the_bundle_cannot_tell_its_age(store, clocks):
    found = heard(store, clocks, since=1_000_000.0 + SKEW_S + 1)
    assert found.seconds == math.inf
    found.hear()
    assert found.seconds == 0


def test_clocks_that_differ_a_little_are_no_matter(store, clocks):
    assert heard(store, clocks, since=1_000_000.0 + SKEW_S - 1).seconds == 0


@pytest.mark.parametrize("setting", [-86_400.0, -1.0])
def test_setting_the_clock_back_gives_no_second_more(store, clocks, setting):
    found = heard(store, clocks)
    found.hear()
    clocks.pass_by(50)
    clocks.wall += setting
    clocks.pass_by(50)
    assert found.seconds == 100
    assert heard(store, clocks).seconds == 100  # nor does a restart of the agent


def test_a_clock_that_is_set_ahead_counts(store, clocks):
    """A virtual machine that was paused sees no other sign of it."""
    found = heard(store, clocks)
    clocks.wall += 5_000
    assert found.seconds == 5_000


def test_a_word_just_after_an_outage_is_kept_at_once(store, clocks):
    found = heard(store, clocks)
    clocks.pass_by(5_000)
    found.tick()
    clocks.pass_by(1)
    found.hear()
    clocks.pass_by(2)
    assert heard(store, clocks).seconds == 2


def test_a_restart_may_count_some_seconds_too_many_and_none_too_few(store, clocks):
    found = heard(store, clocks)
    for _ in range(100):
        clocks.pass_by(2)
        found.hear()
        assert 0 <= heard(store, clocks).seconds <= 32


def test_a_restart_of_the_agent_forgets_nothing(store, clocks):
    found = heard(store, clocks)
    for _ in range(20):
        clocks.pass_by(7)
        found.tick()
    clocks.pass_by(3)
    assert heard(store, clocks).seconds == 143


def test_across_a_start_of_the_machine_the_wall_clock_tells(store, clocks):
    heard(store, clocks).hear()
    clocks.restart(away=600)
    found = heard(store, clocks)
    assert found.seconds == 600
    clocks.pass_by(5)
    assert found.seconds == 605


def test_a_machine_that_starts_in_the_past_waits_for_a_word(store, clocks):
    heard(store, clocks).hear()
    clocks.restart(away=-900_000)
    found = heard(store, clocks)
    assert found.seconds == math.inf
    clocks.pass_by(1_000_000)
    assert heard(store, clocks).seconds == math.inf  # time does not mend it
    found = heard(store, clocks)
    found.hear()
    assert found.seconds == 0


def test_the_clocks_of_this_machine_run():
    clocks = MachineClocks()
    first, second = clocks(), clocks()
    assert second.ticks >= first.ticks
    assert second.boot == first.boot != ""
    assert first.wall > 1_700_000_000
