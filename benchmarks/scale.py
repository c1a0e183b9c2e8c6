"""What 10,000, a million and a billion requests a day take, and where it breaks first.

    python benchmarks/scale.py                     with costs measured here, the store in a file
    python benchmarks/scale.py --postgres URL      and in an empty database of this machine
    python benchmarks/scale.py --costs FILE        with costs that a run kept with --keep
    python benchmarks/scale.py --memory            what the processes have in RAM

Measures what a request, an exchange stored, a label and an audit cost (some minutes), computes from
that, and plays the same through event by event. The numbers of a team's traffic are `Traffic`'s
defaults (scale_bench/arithmetic.py); nothing of them is measured. Linux only.
"""

import argparse
import math
import tempfile
from pathlib import Path

import msgspec

from gateway_bench.processes import raise_descriptor_limit
from gateway_bench.table import print_machine, print_table
from openwheel.settings import CaptureSection
from scale_bench.arithmetic import (
    BUSY,
    DAY_S,
    LINGER_S,
    Costs,
    Cycle,
    Traffic,
    backlog,
    cycle,
    kept,
    limits,
    needs,
)
from scale_bench.measure import BATCHES, WRITERS, Measured, Spread, measure, memory
from scale_bench.simulation import play_backlog, play_retention, play_writers

LONG_RUN = 1_851 / 200_000
"""CPU seconds of turns an exchange, in benchmarks/long_run.py on 2026-11-30: five drifts."""
SIZES = {
    "10,000 requests": Traffic(requests=1e4),
    "1,000,000": Traffic(requests=1e6),
    "20,000,000": Traffic(requests=2e7),
    "1,000,000,000": Traffic(requests=1e9),
    "1,000,000,000, a fifth stored": Traffic(requests=1e9, sample=0.2),
}
WRITERS_SHOWN = (2, 16, 128)
DISK = 2e12
MOST_QUEUED = CaptureSection().max_queued
FILE, POSTGRES = "a file", "Postgres"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--postgres", default="", metavar="URL", help="an empty database on this machine")
    add("--requests", type=int, default=2_000, help="a round")
    add("--rounds", type=int, default=3)
    add("--keep", type=Path, metavar="FILE", help="keep the costs for --costs")
    add("--memory", action="store_true", help="what processes have in RAM, and no more")
    add("--costs", type=Path, metavar="FILE", help="measure nothing")
    chosen = parser.parse_args()
    raise_descriptor_limit()
    print_machine()
    if chosen.memory:
        with tempfile.TemporaryDirectory() as made:
            rows = [
                {"what": what, "MB in RAM": f"{mb:.0f}"} for what, mb in memory(Path(made)).items()
            ]
        print_table(("what", "MB in RAM"), rows)
        return
    if chosen.costs:
        costs = msgspec.json.decode(chosen.costs.read_bytes(), type=dict[str, Costs])
        print(f"Costs of {chosen.costs}\n")
    else:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            places = {FILE: str(folder / "store.db")}
            if chosen.postgres:
                places[POSTGRES] = chosen.postgres
            found = measure(folder, places, requests_a_round=chosen.requests, rounds=chosen.rounds)
        for name, one in found.items():
            print_measured(name, one)
        costs = {name: one.costs() for name, one in found.items()}
    if chosen.keep:
        chosen.keep.write_bytes(msgspec.json.encode(costs))
    for name, of in costs.items():
        print_needs(name, of)
        print_limits(name, of)
        print_writers(name, of)
        print_overload(name, of)
    print_retention(costs[FILE])


def spread(found: Spread, scale: float, unit: str) -> dict[str, str]:
    low, middle, high = (scale * value for value in (found.least, found.median, found.most))
    return {
        "median": f"{middle:.3g} {unit}",
        "rounds, from - to": f"{low:.3g} - {high:.3g}",
        "n": f"{found.n:,}",
    }


def print_measured(name: str, found: Measured) -> None:
    storing = found.storing
    print(f"Measured, the store in {name}:\n")
    rows = [
        {"what": "a gateway's CPU, a student answers"} | spread(found.student, 1e3, "ms"),
        {"what": "a gateway's CPU, forwarded"} | spread(found.forward, 1e3, "ms"),
        *(
            {"what": f"a batch of {size:,}, {WRITERS} writers at once"}
            | spread(storing.batches[size], 1e3, "ms")
            for size in BATCHES
        ),
        {"what": "the learner's CPU, an exchange assigned"} | spread(found.assign, 1e6, "us"),
        {"what": "the learner's CPU, an audit judged"} | spread(found.audit, 1e6, "us"),
        {"what": "the learner's CPU, a look"} | spread(found.look, 1e3, "ms"),
        {"what": "CPU, a label learned"} | spread(found.label, 1e3, "ms"),
    ]
    print_table(("what", "median", "rounds, from - to", "n"), rows)
    server = f"; {1e6 * storing.server:.0f} us of the server's CPU each" if storing.server else ""
    print(
        f"\nFrom these: an append holds others up for {1e3 * storing.append.fixed:.2f} ms and "
        f"{1e6 * storing.append.each:.0f} us an exchange, so at most "
        f"{storing.append.capacity:,.0f} exchanges a second; {storing.stored:,.0f} bytes an "
        f"exchange ({storing.n:,} appended){server}.\n"
    )


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def size(value: float) -> str:
    for unit, of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= of:
            return f"{number(value / of)} {unit}"
    return f"{number(value / 1e3)} kB"


def print_needs(name: str, costs: Costs) -> None:
    print(f"\nWhat it takes, the store in {name}:\n")
    rows: dict[str, dict[str, str]] = {}
    for column, traffic in SIZES.items():
        for what, value in what_it_takes(traffic, costs).items():
            rows.setdefault(what, {"a day": what})[column] = value
    print_table(("a day", *SIZES), list(rows.values()))


def what_it_takes(traffic: Traffic, costs: Costs) -> dict[str, str]:
    found = needs(traffic, costs)
    turns = found.learner_cores + traffic.exchanges * LONG_RUN / DAY_S
    rows = {
        "requests a second, mean / peak": (
            f"{number(traffic.rate)} / {number(traffic.rate * traffic.peak)}"
        ),
        f"gateway cores at the peak, {BUSY:.0%} busy": number(found.gateway_cores),
        "the store's writers busy at the peak": busy(found.cycle),
        "an exchange is committed after, at the peak": delay(found.cycle),
        "the database's cores at the peak": number(found.server_cores),
        "the store grows by": size(found.bytes_a_day),
        f"kept for {traffic.keep_days} days": size(found.bytes_kept),
        "learner cores, mean, each task trained once": number(found.learner_cores),
        "the same, with a turn whenever one is due": number(turns),
        "audits": number(traffic.audits),
        "dollars for audits": number(found.audit_dollars),
        "dollars for the teacher's other answers": number(found.teacher_dollars),
        "dollars that students save, audits paid": number(found.saved_dollars),
    }
    if not costs.server:
        del rows["the database's cores at the peak"]
    return rows


def busy(found: Cycle | None) -> str:
    return "cannot keep up" if found is None else f"{found.busy:.1%}"


def delay(found: Cycle | None) -> str:
    return "-" if found is None else f"{1e3 * found.delay:.0f} ms"


def print_limits(name: str, costs: Costs) -> None:
    print(f"\nWhere it breaks first, the store in {name}, a disk of {size(DISK)}:\n")
    rows = [
        {
            "what ends": what,
            "at requests a day": f"{at:,.2g}".replace("e+", "e"),
            "in the mean a second": number(at / DAY_S),
        }
        for what, at in limits(Traffic(requests=1e6), costs, DISK)
    ]
    print_table(("what ends", "at requests a day", "in the mean a second"), rows)


def print_writers(name: str, costs: Costs) -> None:
    print(f"\nWriters at one lock, computed / played, the store in {name}:\n")
    append, rows = costs.append, []
    for mode, linger in LINGER_S.items():
        for writers in WRITERS_SHOWN:
            for share in (0.1, 0.5, 0.9):
                rate = share * append.capacity
                found = cycle(rate, writers, append, linger)
                turns = writers * append.hold(1_000)
                played = play_writers(rate, writers, append, linger, seconds=max(20.0, 30 * turns))
                row = {"capture": mode, "writers": str(writers), "exchanges/s": f"{rate:,.0f}"}
                if found is not None:
                    row["busy"] = f"{found.busy:.2f} / {played.busy:.2f}"
                    row["batch"] = f"{found.batch:.0f} / {played.batch:.0f}"
                    row["commit after, ms"] = f"{1e3 * found.delay:.0f} / {1e3 * played.delay:.0f}"
                    row["99 of 100 within, ms"] = f"{1e3 * played.latest:.0f}"
                rows.append(row)
    columns = (
        "capture",
        "writers",
        "exchanges/s",
        "busy",
        "batch",
        "commit after, ms",
        "99 of 100 within, ms",
    )
    print_table(columns, rows)


def print_overload(name: str, costs: Costs) -> None:
    capacity = costs.append.capacity
    print(f"\nA day whose peak is above what the store in {name} takes, computed / played:\n")
    rows = []
    for share in (0.95, 0.75, 0.55):
        most = share * capacity * DAY_S / 1.021
        traffic = Traffic(requests=most)
        waiting, played = backlog(traffic, capacity), play_backlog(traffic, capacity)
        rows.append(
            {
                "requests a day": f"{most:,.2g}".replace("e+", "e"),
                "peak, of what the store takes": f"{share * traffic.peak:.2f}",
                "exchanges that wait at most": f"{waiting:,.0f} / {played:,.0f}",
                "workers whose queues hold them": f"{math.ceil(waiting / MOST_QUEUED):,}",
            }
        )
    print_table(tuple(rows[0]), rows)


def print_retention(costs: Costs) -> None:
    traffic = Traffic(requests=1e6)
    computed = kept(traffic.exchanges * costs.stored, traffic.keep_days)
    played = play_retention(traffic, costs.stored, days=3 * traffic.keep_days)
    print(
        f"\nRetention, a million requests a day, {traffic.keep_days} days: computed "
        f"{size(computed)}, played {size(played)}."
    )


if __name__ == "__main__":
    main()
