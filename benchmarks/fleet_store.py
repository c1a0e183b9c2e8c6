"""What a store in Postgres costs beside one in a file, and beside what Postgres itself takes.

    python benchmarks/fleet_store.py write      exchanges stored: a file, Postgres, its own COPY
    python benchmarks/fleet_store.py many       gateways that store at once
    python benchmarks/fleet_store.py import     a million exchanges
    python benchmarks/fleet_store.py read       the queries of console and learner, ten million rows

Each starts a Postgres server of its own in a temporary folder; commits are synced to disk.
"""

import argparse
import contextlib
import datetime
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg

from shared import about

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import postgres  # type: ignore[import-not-found]
from openwheel.store import Exchange, Store, audits, drift, traffic
from openwheel.store.exchanges import WRITTEN, values_of
from openwheel.wire import Answer, Usage, ordered_id

BATCHES = (1, 50, 1_000)
ROUNDS = 5
ANSWERS = ("billing", "outage", "feedback", "other")
WORDS = ("pump", "valve", "motor", "belt", "leak", "noise", "stops", "slow", "oil", "heat", "line")


def exchange(rng: random.Random, now: float) -> Exchange:
    """Return an exchange of some 1.9 kB, as a gateway stores it."""
    text = " ".join(rng.choices(WORDS, k=280))
    body = '{"model":"large","messages":[{"role":"system","content":"Classify the report."},'
    return Exchange(
        id=ordered_id(),
        time=now,
        request=f'{body}{{"role":"user","content":"{text}"}}]}}'.encode(),
        answer=Answer(rng.choice(ANSWERS), (), "stop"),
        source="teacher",
        model="large",
        teacher="api.example",
        latency_ms=640.0,
        usage=Usage(450, 2),
        reply_id=f"chatcmpl-{rng.getrandbits(100):x}",
    )


def server_cpu(pid: int) -> float:
    """Return the CPU seconds of a server and of all processes it has had."""
    first = psutil.Process(pid)
    times = first.cpu_times()
    total = float(times.user + times.system + times.children_user + times.children_system)
    for child in first.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            mine = child.cpu_times()
            total += float(mine.user + mine.system)
    return total


Write = Callable[[list[Exchange]], object]


@contextlib.contextmanager
def in_file(folder: Path, _: "postgres.Server") -> Iterator[Write]:
    with Store.open(folder / "x.db") as store:
        yield store.append


@contextlib.contextmanager
def in_postgres(_: Path, server: "postgres.Server") -> Iterator[Write]:
    with Store.open(server.database()) as store:
        yield store.append


@contextlib.contextmanager
def by_copy(_: Path, server: "postgres.Server") -> Iterator[Write]:
    """The floor: the driver's COPY of the same values into one table with a key, and no more."""
    with psycopg.connect(server.database()) as connection:
        columns = ", ".join(
            f'"{name}" {"bytea" if name == "request" else "text"}' for name in WRITTEN
        )
        connection.execute(f"CREATE TABLE rows (seq bigserial PRIMARY KEY, {columns})")
        connection.commit()
        names = ", ".join(f'"{name}"' for name in WRITTEN)

        def write(rows: list[Exchange]) -> None:
            values = [values_of(row) for row in rows]
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY rows ({names}) FROM STDIN") as copy,
            ):
                for row in values:
                    copy.write_row(row)
            connection.commit()

        yield write


WAYS = {"a file": in_file, "Postgres": in_postgres, "COPY alone": by_copy}


def write() -> None:
    print("| batch | kept in | exchanges/s | CPU of the process, us each | CPU of the server |")
    print("|---|---|---|---|---|")
    rng = random.Random(0)
    for batch in BATCHES:
        number = max(200, min(10_000, 40 * batch)) // batch
        taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(postgres.server(safe=True))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            ways = {name: stack.enter_context(way(folder, server)) for name, way in WAYS.items()}
            for way in ways.values():  # the first write prepares
                way([exchange(rng, time.time())])
            for name, way in ROUNDS * list(ways.items()):
                rows = [[exchange(rng, time.time()) for _ in range(batch)] for _ in range(number)]
                theirs = server_cpu(server.pid)
                cpu, wall = time.process_time(), time.perf_counter()
                for some in rows:
                    way(some)
                count = batch * number
                taken[name].append(
                    (
                        count / (time.perf_counter() - wall),
                        (time.process_time() - cpu) / count * 1e6,
                        (server_cpu(server.pid) - theirs) / count * 1e6,
                    )
                )
        for name, runs in taken.items():
            rate, own, theirs = (statistics.median(values) for values in zip(*runs, strict=True))
            print(f"| {batch:,} | {name} | {rate:,.0f} | {own:.1f} | {theirs:.1f} |", flush=True)


def _gateway(url: str, seed: int, seconds: float, batch: int, out: Any) -> None:
    rng = random.Random(seed)
    rows = [exchange(rng, time.time()) for _ in range(batch)]
    count, waits = 0, []
    with Store.open(url) as store:
        store.append(rows)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            fresh = [
                Exchange(
                    **{**{f: getattr(row, f) for f in row.__struct_fields__}, "id": ordered_id()}
                )
                for row in rows
            ]
            began = time.perf_counter()
            store.append(fresh)
            waits.append(time.perf_counter() - began)
            count += batch
            time.sleep(0.02)  # a gateway gathers so long
    out.put((count, waits))


def many(seconds: float = 8.0) -> None:
    print("| gateways | batch | exchanges/s | median wait for a commit, ms | 99% |")
    print("|---|---|---|---|---|")
    for gateways in (1, 4, 16):
        for batch in (5, 100):
            with postgres.server(safe=True) as server:
                url = server.database()
                out: Any = multiprocessing.Queue()
                processes = [
                    multiprocessing.Process(target=_gateway, args=(url, i, seconds, batch, out))
                    for i in range(gateways)
                ]
                Store.open(url).close()
                for process in processes:
                    process.start()
                results = [out.get() for _ in processes]
                for process in processes:
                    process.join()
            waits = sorted(wait for _, some in results for wait in some)
            total = sum(count for count, _ in results) / seconds
            print(
                f"| {gateways} | {batch} | {total:,.0f} | {statistics.median(waits) * 1e3:.1f} "
                f"| {waits[int(0.99 * len(waits))] * 1e3:.1f} |",
                flush=True,
            )


def take_in(count: int) -> None:
    rng = random.Random(0)
    print("| kept in | seconds | CPU of the process, s | of the server, s | bytes each |")
    print("|---|---|---|---|---|")
    with postgres.server(safe=True) as server, tempfile.TemporaryDirectory() as folder:
        for name, place in (
            ("a file", str(Path(folder) / "x.db")),
            ("Postgres", server.database()),
        ):
            theirs = server_cpu(server.pid)
            with Store.open(place) as store:
                cpu = wall = 0.0
                for _ in range(count // 5_000):
                    rows = [exchange(rng, time.time()) for _ in range(5_000)]
                    began, own = time.perf_counter(), time.process_time()
                    store.append(rows)
                    cpu += time.process_time() - own
                    wall += time.perf_counter() - began
                size = store.database.used_bytes() / count
            print(
                f"| {name} | {wall:.0f} | {cpu:.0f} | {server_cpu(server.pid) - theirs:.0f} "
                f"| {size:,.0f} |",
                flush=True,
            )


def fill(url: str, count: int, days: int, tasks: int) -> None:
    """Fill a store as gateways and a learner would, by statements that make the rows."""
    today = datetime.datetime.now(datetime.UTC).date()
    each = count // days
    with Store.open(url) as store:
        store.append([exchange(random.Random(0), time.time())])
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(days):
            day = today - datetime.timedelta(days=days - 1 - number)
            after = day + datetime.timedelta(days=1)
            for parent, name in (
                ("exchanges", "exchanges_"),
                ("exchange_bodies", "exchange_bodies_"),
            ):
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {name}{day:%Y%m%d} PARTITION OF {parent} "
                    f"FOR VALUES FROM ('{day}') TO ('{after}')"
                )
            first = 2 + number * each
            midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
            connection.execute(
                """
                INSERT INTO exchanges (seq, day, request_hash, id, time, source, api, model, task,
                  latency_ms, prompt_tokens, completion_tokens, unbiased, audit_probability,
                  student, confidence, finish_reason, key, teacher, fingerprint, task_id, settings,
                  inputs, text, tool_calls, student_answer)
                SELECT s, %(day)s, sha256(int8send(s %% 1000)), 'made-' || s,
                  %(midnight)s + 86400.0 * (s - %(first)s) / %(each)s,
                  CASE WHEN s %% 4 = 0 THEN 'teacher' ELSE 'student' END, 'chat', 'large', '',
                  12.5, 450, 2, s %% 4 = 0, 0.05, 'student-' || s %% %(tasks)s, 0.97, 'stop', '',
                  CASE WHEN s %% 4 = 0 THEN 'api.example' ELSE '' END, '',
                  'task-' || s %% %(tasks)s, '{"model":"large"}',
                  '["' || repeat(md5(s::text) || ' ', 6) || '"]',
                  (ARRAY['billing', 'outage', 'feedback', 'other'])[1 + s %% 4], '',
                  CASE WHEN s %% 20 = 0 THEN 'billing' END
                FROM generate_series(%(first)s::bigint, %(first)s::bigint + %(each)s - 1) AS s
                """,
                {
                    "day": day,
                    "midnight": midnight.timestamp(),
                    "first": first,
                    "each": each,
                    "tasks": tasks,
                },
            )
            connection.execute(
                "INSERT INTO exchange_bodies SELECT %s, sha256(int8send(i)), "
                "convert_to(repeat(md5(i::text), 60), 'UTF8') "
                "FROM generate_series(0::bigint, 999) AS i",
                (day,),
            )
            connection.execute(
                "INSERT INTO exchange_ids SELECT id, day, seq FROM exchanges WHERE day = %s "
                "AND seq > 1",
                (day,),
            )
            connection.execute(
                "INSERT INTO exchange_days VALUES (%s, %s, %s, %s, false) ON CONFLICT (day) DO "
                "UPDATE SET first_seq = excluded.first_seq",
                (day, first, midnight.timestamp() + 86_400, midnight.timestamp()),
            )
        connection.execute("UPDATE exchange_state SET last_seq = %s", (1 + days * each,))
        # The first exchange, which made the tables, is on the last day; its seq is not.
        connection.execute("DELETE FROM exchanges WHERE seq = 1")
        connection.execute("ANALYZE")


def read(count: int, days: int = 30, tasks: int = 50) -> None:
    print("| query | median ms | most ms |\n|---|---|---|")
    with postgres.server(safe=True) as server:
        url = server.database()
        began = time.perf_counter()
        fill(url, count, days, tasks)
        print(f"<!-- filled in {time.perf_counter() - began:.0f} s -->", flush=True)
        with Store.open(url) as store:
            newest = store.last_seq()

            def within(ask: Callable[[Any], Any]) -> Callable[[], Any]:
                def run() -> Any:
                    with store.read() as transaction:
                        return ask(transaction)

                return run

            queries: dict[str, Callable[[], Any]] = {
                "newest exchange": store.last_seq,
                "exchanges of each task": store.task_counts,
                "unassigned, by name and key": store.unassigned_counts,
                "a task's 20,000 latest rows for training": lambda: list(
                    store.task_rows("task-7", after=newest - 20_000 * tasks)
                ),
                "5,000 exchanges with their requests": lambda: list(
                    store.exchanges(after=newest - 5_000)
                ),
                "a student's audits among the latest 100,000": within(
                    lambda t: audits.audited(
                        t, "student-7", after=newest - 100_000, until=newest, limit=5_000
                    )
                ),
                "labels of a task since a week": within(
                    lambda t: audits.count_labels(t, "task-7", after=newest - newest // 4)
                ),
                "latest 2,000 requests of a task": within(
                    lambda t: audits.count_latest(t, "task-7", after=0, limit=2_000)
                ),
                "versions of a task's teacher": within(
                    lambda t: drift.first_seen(t, "task-7", newest)
                ),
                "an hour's counts": within(
                    lambda t: traffic.by_hour(t, after=newest - count // days // 24, until=newest)
                ),
                "search: latest page of a task": within(
                    lambda t: traffic.search(
                        t, traffic.Search(task_id="task-7"), page=50, most=20_000
                    )
                ),
                "search: a word that is nowhere": within(
                    lambda t: traffic.search(
                        t, traffic.Search(task_id="task-7", text="nowhere"), page=50, most=20_000
                    )
                ),
                "one exchange by its seq": within(lambda t: traffic.find(t, newest // 2)),
                "exchanges by their ids": within(
                    lambda t: traffic.seqs_of(t, ["made-5", "made-500", "nobody"])
                ),
                "latencies of a task": within(
                    lambda t: traffic.latencies(t, "task-7", ["student"], limit=1_000)
                ),
            }
            for name, ask in queries.items():
                took = []
                for _ in range(5):
                    began = time.perf_counter()
                    ask()
                    took.append((time.perf_counter() - began) * 1e3)
                print(f"| {name} | {statistics.median(took):.1f} | {max(took):.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["write", "many", "import", "read"])
    parser.add_argument("--exchanges", type=int, default=0)
    options = parser.parse_args()
    print(about("fleet_store.py"))
    if options.what == "write":
        write()
    elif options.what == "many":
        many()
    elif options.what == "import":
        take_in(options.exchanges or 1_000_000)
    else:
        read(options.exchanges or 10_000_000)


if __name__ == "__main__":
    main()
