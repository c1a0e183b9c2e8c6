"""A long run of the whole loop: 200,000 requests of eight applications that come, go and change.

    python benchmarks/long_run.py [--requests 200000] [--seed 0] [--once] [--named] [--audit SHARE]

The stream is in `audit_bench/traffic.py`, the rule that says whether the promise was kept, fixed
before the run, in `audit_bench/promise.py`. The loop is the product's own, with its defaults: a
real store in a temporary folder, turns, certificates, canaries, audits. Rungs: exact and linear.
``--once`` lets no text come twice, ``--named`` has the swapped teacher say its own name, and
``--audit`` is the share of audits, for what a loop without them would do.

Exit code 1 if the promise was broken.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from audit_bench import promise, traffic
from audit_bench.promise import Change, Counted, Given
from openwheel.gate import clopper_pearson
from openwheel.loop.offline.replay import Replayed, Served, replay
from openwheel.loop.records import Event
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.store import AUDIT_SUFFIX, Store
from shared import about

PARTS = 20
"""Lines of the table over time."""


class Happened(NamedTuple):
    """An event and the request it came after."""

    at: int
    event: Event


class Part:
    """Counts of a part of the stream, or of a task."""

    def __init__(self) -> None:
        self.requests = self.answered = self.wrong = self.asked = 0
        self.audited = self.repeated = 0
        self.rungs: Counter[str] = Counter()

    def add(self, one: Served, *, repeated: bool) -> None:
        """Count one request, whose text its application had sent before or not."""
        self.requests += 1
        self.repeated += repeated
        self.answered += one.answered
        self.audited += one.audited
        self.wrong += one.answered and not one.agrees
        self.asked += one.audited or not one.answered
        if one.answered:
            rung = one.decision.student.partition("-")[0]
            seen = "exact" if rung == "exact" else f"{rung}, text {'seen' if repeated else 'new'}"
            self.rungs[seen] += 1

    def share(self, rung: str) -> str:
        """Return the share of the requests that a rung answered."""
        return f"{self.rungs[rung] / max(self.requests, 1):.1%}"


class Watcher:
    """Notes what a replay does, request by request."""

    def __init__(self, requests: int) -> None:
        self._requests = requests
        self.parts = [Part() for _ in range(PARTS)]
        self.tasks: dict[str, Part] = {}
        self.answers: dict[str, list[Given]] = {}
        self.events: list[Happened] = []
        self.names: dict[str, Counter[str]] = {}
        self._said: set[tuple[str, bytes]] = set()
        self._at = 0

    def each(self, one: Served) -> None:
        """Note what became of a request."""
        app, _, number = one.exchange.id.partition("/")
        self._at = int(number)
        said = app, one.exchange.request
        repeated = said in self._said
        self._said.add(said)
        part = self.parts[min(self._at * PARTS // self._requests, PARTS - 1)]
        for kept in (part, self.tasks.setdefault(app, Part())):
            kept.add(one, repeated=repeated)
        if one.decision.task:
            self.names.setdefault(one.decision.task, Counter())[app] += 1
        if one.answered:
            given = Given(self._at, one.decision.student, not one.agrees, one.audited)
            self.answers.setdefault(app, []).append(given)

    def tell(self, events: Sequence[Event]) -> None:
        """Note what turns and audits did after the latest request."""
        self.events += [Happened(self._at, event) for event in events]

    def of(self, app: str) -> list[Happened]:
        """Return what happened to an application's tasks."""
        mine = {name for name, apps in self.names.items() if apps.most_common(1)[0][0] == app}
        return [one for one in self.events if one.event.task in mine]


def began(store: Store) -> dict[str, int]:
    """Return for each student the request after which the evidence for it was gathered."""
    places = {
        seq: int(exchange.id.removesuffix(AUDIT_SUFFIX).rpartition("/")[2])
        for seq, exchange in store.exchanges()
    }
    return {
        found.id: places.get(found.trained_until, -1)
        for found, _, _ in Registry(store).candidates()
    }


def rate_of(wrong: int, answered: int) -> str:
    if not answered:
        return "-"
    low, high = clopper_pearson(wrong, answered)
    return f"{wrong:,} of {answered:,}: {wrong / answered:.2%} [{low:.2%}, {high:.2%}]"


def over_time(watcher: Watcher, replayed: Replayed, requests: int) -> None:
    print(
        "\n| requests | coverage | by exact | by linear, text seen | by linear, text new | "
        "repeated texts | disagreement of answers | audits | calls saved, net |\n|" + "---|" * 9
    )
    for place, part in enumerate(watcher.parts):
        if not part.requests:
            continue
        print(
            f"| to {(place + 1) * requests // PARTS:,} | {part.answered / part.requests:.1%} | "
            f"{part.share('exact')} | {part.share('linear, text seen')} | "
            f"{part.share('linear, text new')} | {part.repeated / part.requests:.1%} | "
            f"{part.wrong / max(part.answered, 1):.2%} | {part.audited:,} | "
            f"{1 - part.asked / part.requests:.1%} |"
        )
    total = replayed.total
    saved = total.n - replayed.teacher_calls
    print(
        f"\n{total.n:,} requests; coverage {total.coverage:.1%}; disagreement of answered "
        f"{rate_of(total.disagreements, total.answered)}; teacher calls saved net of "
        f"{replayed.audits:,} audits: {saved:,} ({saved / total.n:.1%})."
    )


def by_task(watcher: Watcher, certificates: Counter[str]) -> None:
    print(
        "\n| task | requests | repeated texts | coverage | by exact | by linear, text seen | "
        "by linear, text new | disagreement of answered | teacher calls saved, net | audits | "
        "certificates | promoted | demoted |\n|" + "---|" * 13
    )
    for app, part in watcher.tasks.items():
        kinds = Counter(one.event.kind for one in watcher.of(app))
        print(
            f"| {app} | {part.requests:,} | {part.repeated / part.requests:.0%} | "
            f"{part.answered / part.requests:.1%} | {part.share('exact')} | "
            f"{part.share('linear, text seen')} | {part.share('linear, text new')} | "
            f"{rate_of(part.wrong, part.answered)} | {1 - part.asked / part.requests:.1%} | "
            f"{part.audited:,} | {certificates[app]} | {kinds['promoted']} | {kinds['demoted']} |"
        )


def drifts(watcher: Watcher, changes: dict[str, list[Change]], epsilon: float) -> None:
    print(
        "\nUntil the demotion (or the end, if there is none), of the task's answers since the "
        "change began:\n\n"
        "| task | change | at request | student then | demoted after requests | answered | "
        "audited | disagreements | beyond epsilon | next student after requests |\n|" + "---|" * 10
    )
    for app, found in changes.items():
        for change in found:
            print(
                f"| {app} | {change.name} | {' | '.join(_drift(watcher, app, change, epsilon))} |"
            )


def _drift(watcher: Watcher, app: str, change: Change, epsilon: float) -> list[str]:
    answers, start = watcher.answers.get(app, []), change.start
    events = [one for one in watcher.of(app) if one.at >= start]
    off = next((one.at for one in events if one.event.kind == "demoted"), None)
    served = [one for one in answers if one.at >= start and (off is None or one.at <= off)]
    before = [one.student.partition("-")[0] for one in answers if one.at < start]
    wrong = sum(one.wrong for one in served)
    again = None
    if off is not None:
        again = next(
            (one.at for one in events if one.event.kind == "promoted" and one.at > off), None
        )
    return [
        f"{start:,}",
        before[-1] if before else "none",
        "never" if off is None else f"{off - start:,}",
        f"{len(served):,}",
        f"{sum(one.audited for one in served):,}",
        rate_of(wrong, len(served)),
        f"{wrong - epsilon * len(served):+,.0f}",
        "" if off is None else "none" if again is None else f"{again - off:,}",
    ]


def demotions(watcher: Watcher, changes: dict[str, list[Change]]) -> None:
    print("\nDemotions:\n")
    for app in watcher.tasks:
        for at, event in watcher.of(app):
            if event.kind in {"demoted", "deferred"}:
                last = [change.name for change in changes[app] if change.start <= at]
                print(
                    f"- {app}, request {at:,}, after "
                    f"{last[-1] if last else 'no change'}: {event.reason}"
                )


def check(
    watcher: Watcher,
    changes: dict[str, list[Change]],
    starts: dict[str, int],
    settings: LoopSettings,
) -> bool:
    """Print whether the promise was kept; return whether it was broken."""
    epsilon = settings.epsilon
    tasks = {
        app: promise.count(watcher.answers.get(app, []), changes[app], starts, epsilon)
        for app in watcher.tasks
    }
    print(
        "\n| task | outside windows | beyond epsilon | chance of as many at epsilon | of these "
        "after a window closed | in windows | beyond epsilon |\n|" + "---|" * 7
    )
    total = Counted()
    for found in tasks.values():
        total = total.plus(found)
    for name, found in [*tasks.items(), ("all", total)]:
        print(
            f"| {name} | {rate_of(found.wrong, found.answered)} | "
            f"{found.wrong - epsilon * found.answered:+,.0f} | {found.chance(epsilon):.2g} | "
            f"{found.overdue:,} | {rate_of(found.excused_wrong, found.excused)} | "
            f"{found.excused_wrong - epsilon * found.excused:+,.0f} |"
        )
    said = promise.verdict(tasks, epsilon, settings.delta)
    print(
        f"\nTasks beyond epsilon outside windows: {len(said.beyond)} of {len(tasks)} "
        f"({', '.join(said.beyond) or 'none'}; {said.allowed} allowed); all together: "
        f"{'beyond' if said.overall else 'not beyond'}. Promise broken: "
        f"{'yes' if said.broken else 'no'}"
    )
    return said.broken


def run(
    requests: int, seed: int, settings: LoopSettings, *, once: bool = False, named: bool = False
) -> bool:
    """Run, print and check; return whether the promise was broken."""
    apps = [make() for make in traffic.APPS]
    watcher, started = Watcher(requests), time.process_time()
    came = traffic.stream(apps, requests, seed, once=once, named=named)

    def say(said: str, done: float | None = None, *_: object) -> None:
        if done is None:
            print(f"{time.process_time() - started:.0f} s: {said}", file=sys.stderr, flush=True)

    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder) / "long.db") as store,
    ):
        replayed = replay(
            store,
            came,
            settings,
            seed=seed,
            progress=say,
            each=watcher.each,
            tell=watcher.tell,
        )
        cpu = time.process_time() - started
        starts = began(store)
        registry = Registry(store)
        known = {record.task.id: record.task.name for record in registry.tasks()}
        certificates: Counter[str] = Counter()
        for certificate in registry.certificates():
            apps_of = watcher.names[known[certificate.task]]
            certificates[apps_of.most_common(1)[0][0]] += 1
        size = store.path.stat().st_size
    changes = {app.name: [Change(*one) for one in app.changes(requests)] for app in apps}
    over_time(watcher, replayed, requests)
    by_task(watcher, certificates)
    drifts(watcher, changes, settings.epsilon)
    demotions(watcher, changes)
    broken = check(watcher, changes, starts, settings)
    kinds = Counter(one.event.kind for one in watcher.events)
    turns = sum(moment.cpu_s for moment in replayed.timeline)
    mixed = sum(sum(names.values()) - max(names.values()) for names in watcher.names.values())
    print(
        f"\n{len(replayed.timeline):,} turns; {len(starts)} students tried, "
        f"{sum(certificates.values())} certificates, {kinds['promoted']} promotions, "
        f"{kinds['demoted']} demotions, {kinds['deferred']} slices deferred; {len(known)} tasks "
        f"found, {mixed} requests matched to another's. CPU: turns {turns:,.0f} s (the longest "
        f"{max(moment.cpu_s for moment in replayed.timeline):.0f} s), looks at audits "
        f"{replayed.looks_cpu_s:,.0f} s, serving and the rest "
        f"{cpu - turns - replayed.looks_cpu_s:,.0f} s. The store is {size / 1e6:,.0f} MB."
    )
    return broken


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=200_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--once", action="store_true", help="no text twice")
    options.add_argument("--named", action="store_true", help="the swapped teacher says so")
    options.add_argument("--audit", type=float, default=0.0, help="share, instead of the default")
    asked = options.parse_args()
    settings = LoopSettings()
    if asked.audit:
        settings = LoopSettings(audit=asked.audit, audit_least=asked.audit, canary=1.0)
    print(about("benchmarks/long_run.py"), flush=True)
    print(
        f"{asked.requests:,} requests, seed {asked.seed}, "
        f"{'no text twice' if asked.once else 'texts drawn with replacement'}, epsilon "
        f"{settings.epsilon:.0%}, delta {settings.delta:.0%}, audits {settings.audit:g} to "
        f"{settings.audit_least:g}, rungs {', '.join(settings.rungs)}"
    )
    broken = run(asked.requests, asked.seed, settings, once=asked.once, named=asked.named)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
