import random

import msgspec
import pytest

from openwheel.loop.audit.state import DAY, Audit, AuditState, Spending, new_state, observe

EPSILON = DELTA = 0.05


def state(*slices, run_length=1e6):
    return new_state(
        promotion=1,
        task="t",
        student="s",
        epsilon=EPSILON,
        delta=DELTA,
        run_length=run_length,
        cursor=100,
        slices=slices,
    )


def stream(rates, n, *, seed=0, first=101):
    """Return audits in random slices, each with its rate of disagreement."""
    rng = random.Random(seed)
    found = []
    for seq in range(first, first + n):
        name = rng.choice(list(rates))
        found.append(Audit(seq, f"x{seq}", 0.0, name, float(rng.random() < rates[name]), 0.05))
    return found


def test_how_audits_are_batched_makes_no_difference():
    audits = stream({"a": 0.02, "b": 0.5, "c": 0.03}, 400)
    audits += stream({"a": 0.3, "c": 0.3}, 400, seed=1, first=501)
    whole, alarms = observe(state("a", "b", "c"), audits)
    assert alarms[0].slice == "b"
    assert alarms[-1].slice == ""
    rng = random.Random(2)
    for _ in range(3):
        found, said, start = state("a", "b", "c"), [], 0
        while start < len(audits):
            end = start + rng.randrange(1, 90)
            found, more = observe(found, audits[start:end])
            # Kept and read again, as between two looks.
            found = msgspec.json.decode(msgspec.json.encode(found), type=AuditState)
            said += more
            start = end
        assert found == whole
        assert tuple(said) == alarms


def test_a_slice_that_is_bad_alone_is_taken_off_alone():
    audits = stream({"a": 0.01, "b": 0.4, "c": 0.01}, 200)
    found, alarms = observe(state("a", "b", "c"), audits)
    assert [alarm.slice for alarm in alarms] == ["b"]
    assert found.deferred == ("b",)
    assert not found.ended
    assert "in slice 'b'" in alarms[0].reason
    # What comes of it still, from workers that were told late, is no evidence against the rest.
    late, alarms = observe(found, stream({"b": 1.0}, 100, first=301))
    assert not alarms
    assert late.whole == found.whole
    # Its evidence is not held against the rest, which has a smaller share of delta now.
    later, alarms = observe(found, stream({"a": 0.01, "c": 0.01}, 400, seed=1, first=301))
    assert not alarms
    assert later.whole.since.delta < state("a", "b", "c").whole.since.delta
    assert later.whole.since.seen.answers < 600


def test_what_is_bad_everywhere_is_taken_off_everywhere():
    found, alarms = observe(state("a", "b", "c"), stream({"a": 0.3, "b": 0.3, "c": 0.3}, 300))
    assert alarms[-1].slice == ""
    assert found.ended
    assert alarms[-1].disagreed
    after, more = observe(found, stream({"a": 1.0}, 50, first=401))
    assert more == ()  # it is off already
    assert after.cursor == 450


def test_a_student_without_slices_has_all_of_what_rates_may_spend():
    assert state().whole.since.delta > 2 * state("a", "b").whole.since.delta
    _, alarms = observe(state(), stream({"": 0.3}, 100))
    assert [alarm.slice for alarm in alarms] == [""]
    assert alarms[0].by == "e-process"


def test_a_change_after_a_long_good_time_is_seen_and_placed():
    good, _ = observe(state(), stream({"": 0.01}, 3_000))
    changed, alarms = observe(good, stream({"": 0.3}, 200, seed=1, first=3_101))
    assert changed.ended
    (alarm,) = alarms
    assert alarm.by == "e-detector"
    assert alarm.seq < 3_101 + 100
    assert 3_050 <= alarm.after_seq <= 3_130
    assert alarm.loss_since / alarm.audits_since > 0.15


def test_students_just_within_their_limit_are_rarely_taken_off():
    """At most 4.5% by the rate and 0.06% by the detector; 9 of 60 would come up once in 1,000."""
    off = 0
    for seed in range(60):
        found, _ = observe(state(), stream({"": EPSILON}, 600, seed=seed))
        off += found.ended
    assert off < 9


def test_a_clock_that_was_ahead_and_is_set_right_does_not_keep_its_day():
    """Else the money of a day would be that of all the days until then."""

    def audit(day: float) -> Audit:
        return Audit(1, "", day * DAY, "", 0.0, 0.1, 500_000.0)

    spending = Spending().after(audit(100.1)).after(audit(130.2))
    assert spending.today(130.3 * DAY) == pytest.approx(0.5)
    assert spending.today(100.3 * DAY) == 0
    spending = spending.after(audit(100.4)).after(audit(100.5))
    assert spending.today(100.6 * DAY) == pytest.approx(1.0)
    assert spending.after(audit(101.1)).today(101.2 * DAY) == pytest.approx(0.5)
    assert spending.total == pytest.approx(2.0)
    assert 0 < spending.requests_left(100.39 * DAY) < 2_000


def test_money_is_counted_by_day():
    spending = Spending()
    for time in (10.0, 20.0, DAY - 10, DAY + 5, DAY - 1, DAY + 10):  # a clock that steps back too
        spending = spending.after(Audit(1, "", time, "", 0.0, 0.1, 500_000.0))
    spending = spending.after(Audit(2, "", DAY + 20, "", 0.0, 0.5, None))  # held back: no cost
    assert spending.total == pytest.approx(3.0)
    assert spending.each == pytest.approx(0.5)
    assert spending.today(DAY + 30) == pytest.approx(1.5)
    assert spending.today(3 * DAY) == 0
    assert spending.requests == pytest.approx(32)
    assert spending.before == pytest.approx(30)
