"""The gate's benchmarks run, each with the fewest draws; how they come out is for more draws."""

import functools
import re
import sys

import pytest

import betting_cost
import deferred
import starts
import validity


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a benchmark with so many draws a line; return its exit code and what it printed."""

    def with_draws(benchmark, draws):
        monkeypatch.setattr(sys, "argv", [benchmark.__file__, "--draws", str(draws)])
        return benchmark.main(), capsys.readouterr().out

    return with_draws


@pytest.mark.parametrize("draws", [2, pytest.param(20, marks=pytest.mark.evidence)])
def test_validity_runs_and_breaks_no_promise(monkeypatch, run, draws):
    if draws == 2:  # without most of the lines of which each draw takes a second or more
        late = validity.deferred_lines
        for name in ("lines", "record_lines"):
            every = getattr(validity, name)
            monkeypatch.setattr(
                validity,
                name,
                lambda n, every=every: [
                    one for one in every(n) if one.n <= 2_500 and "50 looks" not in one.name
                ],
            )
        monkeypatch.setattr(validity, "deferred_lines", lambda n: list(late(n))[:1])
        monkeypatch.setattr(validity, "SOURCES", validity.SOURCES[:1])
        monkeypatch.setattr(validity, "RECORDS", ())
    code, said = run(validity, draws)
    assert code == 0, said
    lines = [line for line in said.splitlines() if line.startswith("|")]
    assert len(lines) > 40
    assert sum("| promise |" in line for line in lines) > 30
    assert sum("| contrast |" in line for line in lines) > 5
    assert "promises broken: 0" in said


def clusters_alone():
    """Return a promise that is broken: that of a gate which counts clusters alone."""
    world = validity.hot_inputs()
    trial = functools.partial(validity.clustered, world=world, n=2_500, how="clusters alone")
    return validity.Line("x", 2_500, 40, trial, validity.FIRST)


def refused():
    """Return a control that is always refused."""
    trial = functools.partial(validity.bet, world=validity.curve(0.5, 0), n=200)
    return validity.Line("x", 200, 40, trial, validity.FIRST, least=0.9)


@pytest.mark.parametrize("line", [clusters_alone, refused])
def test_a_broken_promise_fails_the_run(monkeypatch, run, line):
    monkeypatch.setattr(validity, "lines", lambda _: [line()])
    for name in ("record_lines", "deferred_lines"):
        monkeypatch.setattr(validity, name, lambda _: [])
    for name in ("SOURCES", "RECORDS"):
        monkeypatch.setattr(validity, name, ())
    code, said = run(validity, 40)
    assert "**BROKEN**" in said
    assert code == 1


def test_what_deferred_requests_bring_is_printed(monkeypatch, run):
    monkeypatch.setattr(deferred, "BATCH", 20_000)
    _, said = run(deferred, 1)
    assert len(re.findall(r"^\| [23]% \| ", said, re.MULTILINE)) == 6


def test_starts_prints_a_table(run):
    _, said = run(starts, 1)
    assert re.search(r"\| furthest behind the best \|", said)


def test_what_betting_costs_is_printed(run):
    _, said = run(betting_cost, 1)
    assert "| 1,000 | 36 | 31 | 30 |" in said
    assert len(re.findall(r"^\| 0\.", said, re.MULTILINE)) == 8
