"""What the console costs in a large store: pages, open pages, and the gateway beside it.

    python benchmarks/console_cost.py [--exchanges N] [--folder DIR]

1. A store of N exchanges of 50 tasks with a promoted student each is made in the folder, unless it
   is there: 60% were answered by students, 5% audited, 35% left to the teacher, over 14 days.
2. Each page is rendered 20 times through the console's ASGI app in this process; the CPU of all its
   threads is taken around each.
3. Twenty pages follow the stream of events for a minute while ten exchanges come in each second.
4. A gateway answers rounds of requests with a student, in turns with the console off, and with it
   on and twenty pages open. The CPU of its worker a request is compared within each pair of rounds.
"""

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import psutil

from openwheel.access import KeyStore
from openwheel.console import Console
from openwheel.console.door import Door
from openwheel.importing import LogProblems, read_log
from openwheel.loop.audit.step import audit
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.store import Exchange, Store
from openwheel.tasks import Task
from openwheel.wire import Answer, Usage
from shared import about

FOLDER = Path(tempfile.gettempdir()) / "openwheel-console"
TASKS = 50
DAYS = 14
LOADS = 20
OPEN_PAGES = 20
STREAM_S = 60.0
WORDS = {
    "billing": "invoice payment refund charge receipt tax amount card",
    "delivery": "parcel courier late address tracking shipment depot van",
    "account": "password login email profile username locked reset phone",
    "product": "broken screen battery button noise scratch warranty part",
}
SYSTEM = "You sort tickets of a shop into queues. Answer with one queue. " * 10


def ticket(rng: random.Random, queue: str) -> str:
    words = [rng.choice(WORDS[queue].split()) for _ in range(6)]
    return " ".join([*words, str(rng.randrange(10**7))])


def make_store(path: Path, number: int) -> None:
    """Make the store: one task is learned, and its student stands for those of all others."""
    rng = random.Random(1)
    log = path.with_suffix(".jsonl")
    with log.open("w", encoding="utf-8") as file:
        for i in range(1_500):
            queue = rng.choice(list(WORDS))
            said = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": ticket(rng, queue)},
                {"role": "assistant", "content": queue},
            ]
            file.write(json.dumps({"messages": said, "time": 1_700_000_000 + i}) + "\n")
    with Store.open(path) as store:
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
        settings = LoopSettings()
        learn(store, settings, source="made up")
        registry = Registry(store)
        (certificate,) = registry.certificates()
        candidate = registry.candidate(certificate.student)
        tasks = [registry.tasks()[0].task.id]
        students = [candidate.id]
        for i in range(1, TASKS):
            task = Task(
                id=f"task-{i:02d}", name=f"sort-tickets-{i:02d}", explicit=f"sort-tickets-{i:02d}"
            )
            registry.add_tasks([task])
            registry.set_form(task.id, "label", "A closed set of four answers.")
            student = msgspec.structs.replace(
                candidate, id=f"{candidate.id}-{i:02d}", task_id=task.id, matcher=""
            )
            registry.add_candidate(student)
            folder = registry.files.folder
            shutil.copytree(folder(candidate.id), folder(student.id))
            own = msgspec.structs.replace(
                certificate, task=task.id, task_name=task.name, student=student.id, lineage=""
            ).sealed()
            registry.promote(own, by="turn", reason="certified", audit=0.05)
            tasks.append(task.id)
            students.append(student.id)
        began = time.time() - DAYS * 86_400
        for start in range(0, number, 5_000):
            rows = [_exchange(rng, start + i, number, began, students) for i in range(5_000)]
            first = store.last_seq()
            store.append([row for _, row in rows])
            store.assign(
                (first + 1 + at, tasks[which], json.dumps([row.student or ""]), "")
                for at, (which, row) in enumerate(rows)
            )
            print(f"\r{start + 5_000:,} of {number:,} exchanges", end="", file=sys.stderr)
        print(file=sys.stderr)
        while audit(store, registry, settings, until=store.last_seq()):
            pass


def _exchange(
    rng: random.Random, number: int, of: int, began: float, students: list[str]
) -> tuple[int, Exchange]:
    which = int(TASKS * rng.random() ** 2)
    queue = rng.choice(list(WORDS))
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": ticket(rng, queue)},
        ],
    }
    shared: dict[str, Any] = {
        "time": began + DAYS * 86_400 * number / of,
        "request": json.dumps(body).encode(),
        "student": students[which],
        "audit_probability": 0.05,
    }
    chance = rng.random()
    if chance < 0.6:
        return which, Exchange(
            id=f"chatcmpl-{number:09d}", answer=Answer(queue), source="student",
            confidence=rng.uniform(0.9, 1.0), latency_ms=1.0, unbiased=False, **shared,
        )  # fmt: skip
    audited = chance < 0.65
    differs = rng.random() < 0.02
    answer = rng.choice(list(WORDS)) if differs else queue
    return which, Exchange(
        id=f"chatcmpl-{number:09d}{'-audit' if audited else ''}", answer=Answer(answer),
        source="teacher", teacher="t", latency_ms=rng.lognormvariate(6, 0.5), usage=Usage(400, 3),
        confidence=rng.uniform(0.9, 1.0) if audited else rng.uniform(0.1, 0.9),
        student_answer=queue if audited else None, student_guess=None if audited else queue,
        unbiased=audited, **shared,
    )  # fmt: skip


class Client:
    """Asks the console's app without a socket."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._cookie = b""

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body of a page."""
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(self._scope(path), receive, send)
        headers = dict(sent[0]["headers"])
        if b"set-cookie" in headers:
            self._cookie = headers[b"set-cookie"].partition(b";")[0]
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    async def follow(self, path: str) -> int:
        """Follow a stream of events until cancelled; return how many came."""
        came = 0

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(message: dict[str, Any]) -> None:
            nonlocal came
            came += b"event: board" in message.get("body", b"")

        with contextlib.suppress(asyncio.CancelledError):
            await self._app(self._scope(path), receive, send)
        return came

    def _scope(self, path: str) -> dict[str, Any]:
        path, _, query = path.partition("?")
        headers = [(b"host", b"localhost"), (b"cookie", self._cookie)]
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "headers": headers, "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }  # fmt: skip


def show_pages(path: Path) -> None:
    """Print what each page costs."""
    with Store.open(path, read_only=True) as store:
        keys = KeyStore(store)
        app = Console(store, Door(keys, lambda: False), LoopSettings()).app()
        client = Client(app)
        task = Registry(store).tasks()[1].task.id
        newest = store.last_seq()
        pages = {
            "overview": "/console",
            "overview, 30 days": "/console?days=30",
            "a task": f"/console/tasks/{task}",
            "exchanges, latest": "/console/exchanges",
            "exchanges of a task that differ": f"/console/exchanges?task={task}&pairs=differ",
            "exchanges, a text that none has": "/console/exchanges?text=nowhere+to+be+found",
            "an exchange": f"/console/exchanges/{newest}",
            "review": "/console/review",
        }

        async def run() -> None:
            began, began_cpu = time.perf_counter(), time.process_time()
            while b"are not counted yet" in (await client.get("/console"))[1]:
                await asyncio.sleep(2.0)
            print(
                f"counted {newest:,} exchanges after {time.perf_counter() - began:.1f} s, "
                f"{time.process_time() - began_cpu:.1f} s of CPU\n"
            )
            print("| page | CPU, median of 20 | slowest | size |\n|---|---|---|---|")
            for name, address in pages.items():
                took = []
                for _ in range(LOADS):
                    start = time.process_time()
                    status, body = await client.get(address)
                    took.append(1000 * (time.process_time() - start))
                    assert status == 200, (name, status, body[:200])
                print(
                    f"| {name} | {statistics.median(took):.1f} ms | {max(took):.1f} ms | "
                    f"{len(body) / 1024:.0f} kB |",
                    flush=True,
                )
            await show_stream(client, path)

        asyncio.run(run())


async def show_stream(client: Client, path: Path) -> None:
    """Print what open pages cost while exchanges come in."""
    writer = subprocess.Popen(
        [sys.executable, __file__, "--write", str(path)], stdin=subprocess.PIPE
    )
    await asyncio.sleep(3.0)
    start = time.process_time()
    following = [asyncio.ensure_future(client.follow("/console/events")) for _ in range(OPEN_PAGES)]
    await asyncio.sleep(STREAM_S)
    spent = time.process_time() - start
    for one in following:
        one.cancel()
    came = await asyncio.gather(*following)
    writer.terminate()
    writer.wait()
    print(
        f"\n{OPEN_PAGES} open pages for {STREAM_S:.0f} s, ten exchanges a second: "
        f"{spent:.2f} s of CPU, {spent / STREAM_S:.2%} of a core; {came[0]} changes were shown"
    )


def write(path: Path) -> None:
    """Put ten exchanges a second into the store, until ended."""
    rng = random.Random(int(time.time()))
    with Store.open(path) as store:
        registry = Registry(store)
        (promotion, *_) = registry.promotions().values()
        assert promotion.certificate is not None
        students = [promotion.certificate.student] * TASKS
        for number in range(10**8):
            at = int(time.time() * 1000) * 1000 + number
            _, row = _exchange(rng, 1, 1, time.time() - DAYS * 86_400, students)
            store.append([msgspec.structs.replace(row, id=f"live-{at}")])
            time.sleep(0.1)


TOML = """
[gateway]
port = 0
[[teachers]]
url = "http://127.0.0.1:9/v1"
[capture]
mode = "off"
[loop]
turns = false
canary = 1.0
[console]
enabled = {enabled}
"""


@contextlib.contextmanager
def gateway(folder: Path, *, console: bool) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """Run a gateway; yield its address and its processes by their module's last name."""
    (folder / "openwheel.toml").write_text(TOML.format(enabled=str(console).lower()))
    process = subprocess.Popen(
        [sys.executable, "-m", "openwheel", "up", "--log-level", "error"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1].removesuffix("/v1")
    time.sleep(5.0)  # until all of them have started
    parts = {}
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            parts[child.cmdline()[-1].rpartition(".")[2]] = child
    try:
        yield url, parts
    finally:
        process.terminate()
        process.wait()


def one_round(url: str, worker: psutil.Process, requests: int, pages: int) -> float:
    """Return the worker's CPU in ms a request, with pages of the console open."""
    rng = random.Random(3)
    opened = [urlopen(f"{url}/console/events", timeout=60) for _ in range(pages)]
    bodies = [
        json.dumps(
            {
                "model": "m",
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": ticket(rng, rng.choice(list(WORDS)))},
                ],
            }
        ).encode()
        for _ in range(requests)
    ]
    before = worker.cpu_times()
    for body in bodies:
        asked = Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
        try:
            with urlopen(asked, timeout=60) as response:
                response.read()
        except OSError:  # no teacher for what the student defers
            pass
    after = worker.cpu_times()
    for page in opened:
        page.close()
    spent: float = after.user + after.system - before.user - before.system
    return 1000 * spent / requests


def show_gateway(rounds: int, requests: int) -> None:
    """Print what a request costs a worker beside no console, and beside one with open pages."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = folder / "openwheel.db"
        make_store(small, 10_000)
        ratios, without, memory = [], [], []
        for _ in range(rounds):
            spent = {}
            for console in (False, True):
                with gateway(folder, console=console) as (url, parts):
                    worker, pages = parts["worker"], OPEN_PAGES if console else 0
                    one_round(url, worker, 200, 0)
                    spent[console] = one_round(url, worker, requests, pages)
                    if console:
                        memory.append(parts["console"].memory_full_info().uss / 1e6)
            ratios.append(spent[True] / spent[False])
            without.append(spent[False])
    print(
        f"\na worker's CPU a request: {statistics.median(without):.3f} ms without a console; with "
        f"one and {OPEN_PAGES} open pages {statistics.median(ratios):.3f} times that (median of "
        f"{rounds} pairs of {requests:,} requests; {min(ratios):.3f} to {max(ratios):.3f}); the "
        f"console's process has {statistics.median(memory):.0f} MB to itself"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.write is not None:
        write(chosen.write)
        return
    print(about("console_cost.py"))
    chosen.folder.mkdir(parents=True, exist_ok=True)
    path = chosen.folder / f"{chosen.exchanges}.db"
    if not path.exists():
        make_store(path, chosen.exchanges)
    show_pages(path)
    show_gateway(chosen.rounds, chosen.requests)


if __name__ == "__main__":
    main()
