"""Takes the costs here: of requests, of storing, of learning and of audits, each in a minute or so.

A gateway and its store are real processes. CPU is the operating system's; what writers wait for
each other is wall time, with as many writers at once as a small fleet has.
"""

import gzip
import multiprocessing
import multiprocessing.queues
import multiprocessing.synchronize
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from cost import measured as run_measured
from gateway_bench import sides, student
from gateway_bench.bodies import SAMPLE, Template, request, requests, templates
from gateway_bench.connection import send_all
from gateway_bench.processes import cpu_seconds, line_from, module, rss_mb, running
from openwheel.loop.audit.step import audit
from openwheel.loop.registry import Registry
from openwheel.loop.resources import open_resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import assign_new
from openwheel.store import Exchange, Store
from openwheel.store.retention import used_bytes
from openwheel.wire import Answer, ordered_id
from scale_bench.arithmetic import Append, Costs

CONNECTIONS = 16
WRITERS = 4
SETTLE_S = 0.3
AUDITS, LOOKS = 1_500, 20
IDLE_S = 15.0
BATCHES = {1: 300, 30: 40, 1_000: 5}
"""How many batches of each size a writer appends."""


class Spread(NamedTuple):
    """The median of some rounds, and their range."""

    median: float
    least: float
    most: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float], n: int) -> "Spread":
        """Return it; ``n`` is what all rounds together counted."""
        return cls(statistics.median(values), min(values), max(values), n)


class Storing(NamedTuple):
    """What a store takes.

    Attributes:
        append: What writers wait for each other.
        batches: Seconds a batch by its size, with `WRITERS` writers at once.
        server: CPU seconds of the database server for an exchange, in batches of 30.
        stored: Bytes of an exchange.
        n: Exchanges that were appended.
    """

    append: Append
    batches: dict[int, Spread]
    server: float
    stored: float
    n: int


class Measured(NamedTuple):
    """All that was measured, for one kind of store."""

    student: Spread
    forward: Spread
    storing: Storing
    assign: Spread
    audit: Spread
    look: Spread
    label: Spread

    def costs(self) -> Costs:
        """Return the medians."""
        return Costs(
            student=self.student.median,
            forward=self.forward.median,
            append=self.storing.append,
            server=self.storing.server,
            stored=self.storing.stored,
            assign=self.assign.median,
            audit=self.audit.median,
            look=self.look.median,
            label=self.label.median,
        )


def measure(
    folder: Path, places: Mapping[str, str], *, requests_a_round: int, rounds: int
) -> dict[str, Measured]:
    """Measure with stores at these places, by name: a file's path, the URL of an empty database.

    What students and learners take is measured with a store in a file, for all.
    """
    bodies, _ = templates(folder, 2 * requests_a_round + 1_000)
    sent = Sent(bodies, requests_a_round, rounds)
    learned = student.learn(folder / "student.db")
    label = labels(folder, rounds)
    assign, judged, look = learner(learned, bodies, rounds)
    answers = student.agreeing(learned, bodies)
    with (
        module("teacher", str(answers)) as agrees,
        sides.openwheel(folder, int(line_from(agrees)), learned) as side,
    ):
        by_student = gateway(side, sent, known=asked_of_students(learned, sent))
    found = {}
    for name, place in places.items():
        # The exchanges of the gateway first: then the store has its tables.
        with (
            module("teacher") as teacher,
            sides.openwheel(
                folder, int(line_from(teacher)), folder / f"{name}.db", extra=f"--db {place}"
            ) as side,
        ):
            forwarded = gateway(side, sent)
        storing = store(place, bodies, rounds)
        found[name] = Measured(by_student, forwarded, storing, assign, judged, look, label)
    return found


class Sent(NamedTuple):
    """Requests, how many a round, and how many rounds."""

    bodies: list[Template]
    a_round: int
    rounds: int


def asked_of_students(learned: Path, sent: Sent) -> list[bytes]:
    """Return requests that the students of a store answer."""
    wanted = int(1.5 * sent.a_round) + 200
    candidates = [sent.bodies[i % len(sent.bodies)].body(i) for i in range(wanted)]
    answers = student.decided(learned, candidates).answers
    return [request(body) for body, said in zip(candidates, answers, strict=True) if said]


def gateway(side: sides.Side, sent: Sent, known: Sequence[bytes] = ()) -> Spread:
    """Return a gateway's CPU for a request: one of ``known``, which students answer, or any."""
    source = "student" if known else "teacher"
    taken = []
    for number in range(sent.rounds + 1):
        asked = [known[i % len(known)] for i in range(sent.a_round)] if known else None
        fresh = requests(sent.bodies, sent.a_round, start=1_000_000 * (number + 1))
        before = cpu_seconds(side.pid)
        load = uvloop.run(send_all(side.port, asked or list(fresh), CONNECTIONS))
        time.sleep(SETTLE_S)
        if load.sources[source] < 0.99 * sent.a_round:
            raise SystemExit(f"of {sent.a_round} requests for the {source}: {load.sources}")
        if number:  # the first round warms up
            taken.append((cpu_seconds(side.pid) - before) / sent.a_round)
    return Spread.of(taken, sent.a_round * sent.rounds)


def store(place: str, bodies: Sequence[Template], rounds: int) -> Storing:
    """Return what appending takes, with writers in processes of their own."""
    texts = [body.body(0) for body in bodies]
    with Store.open(place) as opened:
        server = _server_of(opened)
        before, count = used_bytes(opened), opened.count()
    seconds: dict[int, list[float]] = {size: [] for size in BATCHES}
    cpu = 0.0
    for number in range(rounds):
        for size, batches in BATCHES.items():
            busy = cpu_seconds(server) if server else 0.0
            seconds[size].append(
                _write(Writing(place, texts, size, batches, str(number))) / (WRITERS * batches)
            )
            if size == 30 and server:
                cpu += cpu_seconds(server) - busy
    with Store.open(place) as opened:
        stored = opened.count() - count
        each = (used_bytes(opened) - before) / stored
    medians = {size: statistics.median(values) for size, values in seconds.items()}
    slope = (medians[1_000] - medians[1]) / 999
    return Storing(
        Append(fixed=max(0.0, medians[1] - slope), each=slope),
        {
            size: Spread.of(values, rounds * WRITERS * BATCHES[size])
            for size, values in seconds.items()
        },
        cpu / (rounds * WRITERS * BATCHES[30] * 30),
        each,
        stored,
    )


class Writing(NamedTuple):
    """What a writer appends, and where."""

    place: str
    texts: list[bytes]
    size: int
    batches: int
    seed: str


def _write(writing: Writing) -> float:
    """Have all writers append, and return the seconds until the last has done so."""
    context = multiprocessing.get_context("spawn")
    begin, ended = context.Barrier(WRITERS + 1), context.SimpleQueue()
    writers = [
        context.Process(
            target=_writer, args=(writing._replace(seed=f"{writing.seed} {i}"), begin, ended)
        )
        for i in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    begin.wait(120)
    started = time.monotonic()
    done: list[float] = [ended.get() for _ in writers]
    for writer in writers:
        writer.join()
    return max(done) - started


def _writer(
    writing: Writing,
    begin: "multiprocessing.synchronize.Barrier",
    ended: "multiprocessing.queues.SimpleQueue[float]",
) -> None:
    rng = random.Random(f"{writing.seed} {writing.size}")
    with Store.open(writing.place) as opened:
        made = [
            [_exchange(rng, rng.choice(writing.texts)) for _ in range(writing.size)]
            for _ in range(writing.batches)
        ]
        begin.wait(120)
        for batch in made:
            opened.append(batch)
        ended.put(time.monotonic())


def _exchange(rng: random.Random, text: bytes) -> Exchange:
    # Each request is another one, as most are.
    body = text[:-2] + b", %d" % rng.getrandbits(60) + text[-2:]
    return Exchange(
        id=ordered_id(),
        time=time.time(),
        request=body,
        answer=Answer("hydraulics", (), "stop"),
        source="teacher",
        model="teacher-large",
        teacher="teacher",
        latency_ms=700.0,
        reply_id=f"chatcmpl-{rng.getrandbits(100):x}",
    )


def _server_of(opened: Store) -> int:
    """Return the process of the database server on this machine, 0 if there is none."""
    if opened.engine.dialect.name != "postgresql":
        return 0
    with opened.read() as connection:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    parent = Path(f"/proc/{backend}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1]
    return int(parent)


def learner(learned: Path, bodies: list[Template], rounds: int) -> tuple[Spread, Spread, Spread]:
    """Return the learner's CPU for an exchange that it assigns, for an audit, and for a look."""
    answers = student.decided(learned, [body.body(1) for body in bodies]).answers
    known = [(body, said) for body, said in zip(bodies, answers, strict=True) if said is not None]
    found = [
        _learned(student.copy(learned, learned.with_name(f"audits-{number}.db")), known)
        for number in range(rounds)
    ]
    assigned, judged, looked = zip(*found, strict=True)
    return (
        Spread.of(assigned, AUDITS * rounds),
        Spread.of(judged, AUDITS * rounds),
        Spread.of(looked, LOOKS * rounds),
    )


def _learned(place: Path, known: list[tuple[Template, str]]) -> tuple[float, float, float]:
    """Return what many audits at once take, each to assign and to judge, and what a look takes."""
    settings = LoopSettings()
    with Store.open(place) as opened, open_resources(settings) as resources:
        registry = Registry(opened)
        newest = opened.last_seq()
        served = next(
            promotion.certificate.student
            for promotion in registry.promotions().values()
            if promotion.certificate is not None
        )
        audits = [_audit(served, *known[i % len(known)], i) for i in range(AUDITS + LOOKS)]
        opened.append(audits[:AUDITS])
        began = time.process_time()
        newest = assign_new(opened, registry, after=newest)
        assigned = time.process_time()
        audit(opened, registry, settings, resources, until=newest)
        judged = time.process_time()
        looked = 0.0
        for one in audits[AUDITS:]:
            opened.append([one])
            before = time.process_time()
            newest = assign_new(opened, registry, after=newest)
            audit(opened, registry, settings, resources, until=newest)
            looked += time.process_time() - before
    return (assigned - began) / AUDITS, (judged - assigned) / AUDITS, looked / LOOKS


def _audit(served: str, body: Template, said: str, number: int) -> Exchange:
    return Exchange(
        id=ordered_id(),
        time=time.time(),
        request=body.body(10_000 + number),
        answer=Answer(said),
        source="teacher",
        model="teacher-large",
        unbiased=True,
        audit_probability=0.05,
        student=served,
        student_answer=said,
    )


def labels(folder: Path, rounds: int) -> Spread:
    """Return the CPU of an exchange more that `openwheel learn` learns of: read to judged."""
    with gzip.open(SAMPLE, "rb") as file:
        lines = file.readlines()
    few, many = len(lines) // 4, len(lines)
    slopes = []
    for number in range(rounds):
        spent = {}
        for size in (few, many):
            log = folder / f"labels-{size}.jsonl"
            log.write_bytes(b"".join(lines[:size]))
            command = [
                *(sys.executable, "-m", "openwheel", "learn", str(log), "--in-order"),
                *("--rungs", "exact,linear", "--db", str(folder / f"labels-{number}-{size}.db")),
            ]
            spent[size], _, _, _ = run_measured(command)
        slopes.append((spent[many] - spent[few]) / (many - few))
    return Spread.of(slopes, (many - few) * rounds)


def memory(folder: Path) -> dict[str, float]:
    """Return the MB in RAM of a gateway, of what is added to it, and of a learner.

    Of all its processes, after requests that its student answered; what several of them share
    counts for each.
    """
    bodies, _ = templates(folder, 1_500)
    learned = student.learn(folder / "student.db")
    answers = student.agreeing(learned, bodies)
    sent = Sent(bodies, 500, 1)
    known = asked_of_students(learned, sent)
    found: dict[str, float] = {}
    with module("teacher", str(answers)) as agrees:
        teacher = int(line_from(agrees))
        for what, options in (
            ("a gateway with one worker", ""),
            ("with two workers", "--workers 2"),
            ("with one worker and the console", "--console"),
        ):
            extra = f"--no-learner --no-console {options}"
            with sides.openwheel(folder, teacher, learned, extra=extra) as side:
                gateway(side, sent, known=known)
                found[what] = rss_mb(side.pid)
    command = [sys.executable, "-m", "openwheel", "learner", "--db", str(learned)]
    with running(command, folder / "learner.log") as process:
        time.sleep(IDLE_S)
        found["a learner that waits"] = rss_mb(process.pid)
    return found
