"""What a day's traffic takes, from what one request, exchange, audit and label cost.

Times are in seconds, rates a second, sizes in bytes, unless a name says otherwise.
"""

import math

import msgspec

DAY_S = 86_400.0
LINGER_S = {"fast": 0.02, "strict": 0.001}
"""How long a worker gathers a batch, by `capture.mode`."""
MOST_IN_BATCH = 1_000
MOST_TRAINED = 50_000
"""The labels that a training takes at most: the latest."""
LOOKS_S = 2.0
"""How often a second the learner looks."""


class Append(msgspec.Struct, frozen=True):
    """What appending a batch takes while no other writer can: ``fixed`` and for ``each`` exchange.

    Attributes:
        fixed: Seconds, whatever is in the batch: a commit that is synced, and the way there.
        each: Seconds for an exchange of it.
    """

    fixed: float
    each: float

    def hold(self, batch: float) -> float:
        """Return how long a batch keeps other writers waiting."""
        return self.fixed + self.each * batch

    @property
    def capacity(self) -> float:
        """The most exchanges a second that all writers together append, in batches of the most."""
        return MOST_IN_BATCH / self.hold(MOST_IN_BATCH)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, in seconds of CPU of one core unless it says otherwise.

    Attributes:
        student: A gateway's, for a request that a student answers.
        forward: For one that a teacher answers.
        append: What a store's writers wait for each other, in seconds of wall time.
        server: A database server's, for an exchange; 0 where there is none.
        stored: Bytes of an exchange in the store.
        assign: The learner's, for an exchange that it gives its task.
        audit: For an audit that it judges.
        look: For a look at the store that finds something.
        label: For an exchange that is learned: read, trained on, judged.
    """

    student: float
    forward: float
    append: Append
    server: float
    stored: float
    assign: float
    audit: float
    look: float
    label: float


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """A day's traffic. Nothing here is measured: these are a team's own numbers.

    Attributes:
        requests: A day.
        tasks: Among which they are shared equally.
        coverage: The share that students answer.
        audited: The share of these that the teacher answers too.
        peak: The busiest moment over the mean: over a day the rate is a sine between 2 - peak and
            peak times the mean; at most 2.
        trainings: How often a day each task is trained anew.
        sample: The share of the exchanges that is stored at all (`capture.sample`); audits are.
        keep_days: How long an exchange is kept.
        tokens: That a teacher reads and writes for an answer.
        prices: Dollars for a million of them, read and written.
        mode: Of capture.
    """

    requests: float
    tasks: int = 20
    coverage: float = 0.7
    audited: float = 0.03
    peak: float = 2.0
    trainings: float = 1.0
    sample: float = 1.0
    keep_days: int = 30
    tokens: tuple[float, float] = (500.0, 20.0)
    prices: tuple[float, float] = (0.5, 1.5)
    mode: str = "fast"

    @property
    def rate(self) -> float:
        """Requests a second in the mean."""
        return self.requests / DAY_S

    @property
    def audits(self) -> float:
        """Audits a day."""
        return self.requests * self.coverage * self.audited

    @property
    def exchanges(self) -> float:
        """Exchanges a day that are stored: of a request one, and of an audit another one."""
        return self.sample * self.requests + self.audits

    @property
    def answer_dollars(self) -> float:
        """What an answer of the teacher costs."""
        return sum(n * price for n, price in zip(self.tokens, self.prices, strict=True)) / 1e6


class Cycle(msgspec.Struct, frozen=True):
    """How writers take turns.

    Attributes:
        seconds: From one commit of a writer to its next.
        batch: Exchanges of a batch.
        busy: The share of the time in which some writer appends: 1 is the end of it.
        delay: From an answer to its commit, in the mean.
    """

    seconds: float
    batch: float
    busy: float
    delay: float


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a day takes.

    Attributes:
        gateway_cores: At the peak, so that these are busy for no more than ``BUSY`` of the time.
        workers: Processes for that.
        cycle: At the peak; None if the store cannot keep up.
        server_cores: Of the database server, at the peak.
        bytes_a_day: That the store grows by.
        bytes_kept: At most, with retention.
        learner_cores: In the mean.
        teacher_dollars: A day, of what teachers answer, audits not among it.
        audit_dollars: A day.
        saved_dollars: A day, of what students answer, less the audits.
    """

    gateway_cores: float
    workers: int
    cycle: Cycle | None
    server_cores: float
    bytes_a_day: float
    bytes_kept: float
    learner_cores: float
    teacher_dollars: float
    audit_dollars: float
    saved_dollars: float


BUSY = 0.6
"""Of a core that answers requests: above it, requests wait for each other."""


def cycle(rate: float, writers: int, append: Append, linger: float) -> Cycle | None:
    """Return how writers take turns at a rate of exchanges; None if they cannot keep up.

    A writer waits for an exchange, gathers for ``linger``, waits for its turn, and appends. Either
    writers rarely meet, or each waits for all others; the longer of both is taken, which is the
    bound of a closed queue. Writers without a break fall into step and hardly wait by chance;
    what is waited for between breaks is that of a queue with fixed service (M/D/1).
    """
    if rate <= 0:
        return Cycle(math.inf, 0.0, 0.0, linger + append.hold(1))
    own = rate / writers
    batch, seconds, idle, service = 1.0, 0.0, 0.0, append.hold(1)
    for _ in range(1_000):  # towards where it stands
        hold = append.hold(batch)
        idle = math.exp(-own * service) / own
        seconds = max(linger + hold + idle, writers * hold)
        service = max(hold, seconds - linger - idle)
        batch = max(1.0, own * seconds)
        if batch > MOST_IN_BATCH:
            return None
    busy = min(1.0, writers * append.hold(batch) / seconds)
    chance = (writers - 1) / 2
    if busy < 1:
        chance = min(chance, busy / (2 * (1 - busy)))
    # Those that end a break, those that come while it gathers, and those that come while it writes.
    first, second, third = math.exp(-own * service), own * linger, own * service
    until_taken = first * linger + second * linger / 2 + third * (service / 2 + linger)
    delay = until_taken / (first + second + third) + service
    return Cycle(seconds, batch, busy, delay + chance * append.hold(batch) * idle / seconds)


def needs(traffic: Traffic, costs: Costs) -> Needs:
    """Return what a day of this traffic takes."""
    a_request = traffic.coverage * costs.student + (1 - traffic.coverage) * costs.forward
    # The teacher's answer to an audit is forwarded, but to no client.
    a_request += traffic.coverage * traffic.audited * costs.forward
    cores = traffic.rate * traffic.peak * a_request / BUSY
    workers = max(1, math.ceil(cores))
    stored = traffic.exchanges / DAY_S * traffic.peak
    learned = min(traffic.exchanges / traffic.tasks, MOST_TRAINED) * traffic.tasks
    looks = min(LOOKS_S * DAY_S, traffic.exchanges)
    learning = (
        traffic.exchanges * costs.assign
        + traffic.audits * costs.audit
        + looks * costs.look
        + traffic.trainings * learned * costs.label
    )
    bytes_a_day = traffic.exchanges * costs.stored
    return Needs(
        gateway_cores=cores,
        workers=workers,
        cycle=cycle(stored, workers, costs.append, LINGER_S[traffic.mode]),
        server_cores=stored * costs.server,
        bytes_a_day=bytes_a_day,
        bytes_kept=kept(bytes_a_day, traffic.keep_days),
        learner_cores=learning / DAY_S,
        teacher_dollars=(1 - traffic.coverage) * traffic.requests * traffic.answer_dollars,
        audit_dollars=traffic.audits * traffic.answer_dollars,
        saved_dollars=(traffic.coverage * traffic.requests - traffic.audits)
        * traffic.answer_dollars,
    )


def kept(bytes_a_day: float, keep_days: int) -> float:
    """Return the most that is kept: a day goes once its last exchange is too old."""
    return (keep_days + 1) * bytes_a_day


def backlog(traffic: Traffic, capacity: float) -> float:
    """Return how many exchanges wait at most, where the busiest hours exceed a store's capacity.

    The part of a day's sine that is above the capacity; infinite if even the mean is.
    """
    mean = traffic.exchanges / DAY_S
    over = capacity / mean - 1
    swing = traffic.peak - 1
    if over >= swing:
        return 0.0
    if over <= 0:
        return math.inf
    angle = math.asin(over / swing)
    return (
        mean * DAY_S / (2 * math.pi) * (2 * swing * math.cos(angle) - over * (math.pi - 2 * angle))
    )


def limits(traffic: Traffic, costs: Costs, disk: float) -> list[tuple[str, float]]:
    """Return what ends first as traffic grows: what, and at how many requests a day.

    Args:
        disk: Bytes of the disk that the store is on.
    """
    one = needs(msgspec.structs.replace(traffic, requests=1.0), costs)
    # Training grows no more once every task has as many labels as are taken.
    growing = (traffic.exchanges * costs.assign + traffic.audits * costs.audit) / traffic.requests
    steady = (
        LOOKS_S * DAY_S * costs.look
        + traffic.trainings * traffic.tasks * MOST_TRAINED * costs.label
    )
    stored = traffic.exchanges / traffic.requests
    found = [
        ("one gateway worker of any number", 1.0 / one.gateway_cores),
        ("one learner of any number, with one core", max(0.0, DAY_S - steady) / growing),
        ("the store's writers", costs.append.capacity * DAY_S / (stored * traffic.peak)),
        ("the store's disk", disk / kept(stored * costs.stored, traffic.keep_days)),
    ]
    return sorted(found, key=lambda limit: limit[1])
